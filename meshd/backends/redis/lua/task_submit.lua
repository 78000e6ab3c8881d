-- task_submit: create tasks, each once.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  most routes the partition may know
-- ARGV[3]  most tasks that may wait ('' = any number)
-- ARGV[4]  '1': tasks without delay, deadline, idempotency key and placement, each with an id of its own
-- ARGV[5…]  per task: id, queue, offset ms, delay ms, life ms ('' = no deadline), idempotency key ('' = none),
--          count of further fields and values, then these: `dep` names the task's parents, each kept or in this call
--
-- Returns  {'ok', id, 'created' | 'known', state, …} | {'routes_full', route} | {'queue_full', tasks waiting, tasks new}
--          | {'unknown_parent', id, parent}
-- Cost     O((tasks + parents) · log N), and O(profiles) for each new route
-- #include "clock"
-- #include "constants"
local queue_size = tonumber(ARGV[3])
local is_single = ARGV[4] == '1' and #ARGV == 11 + tonumber(ARGV[11])

local function has_room(news)
  if not queue_size then
    return true
  end
  local waiting = 0
  for _, kept in ipairs(redis.call('HMGET', prefix .. 'counts', 'scheduled', 'blocked', 'ready')) do
    waiting = waiting + tonumber(kept or 0)
  end
  return waiting + news <= queue_size, waiting
end

local function ids_opened()
-- #include "ids"
  return add_ids
end

-- List an id where the newest go; otherwise find out where.
local function list_id(id)
  if clock.chunk and id > clock.chunk and clock.seq % IDS_PER_CHUNK ~= 0 then
    redis.call('ZADD', prefix .. 'ids:' .. clock.chunk, '0', id)
  else
    ids_opened()({id})
  end
end

-- Put one plain task, which is not known, at the end of a queue that is there; return whether that could be done. Every
-- so often it is left to the long way, which also notes that the route is in use, and shortens the log.
-- What goes into a call is text: a number is written with seventeen digits there, at several times the cost.
local function enqueue(key, id, queue)
  if (clock.seq + 1) % ROUTE_LOOKS == 0 then
    return false
  end
  local call, now_text, vt, seq = redis.call, whole(now), whole(now + tonumber(ARGV[7])), whole(clock.seq + 1)
  local entry = redis.pcall('XADD', prefix .. 'q:' .. queue, 'NOMKSTREAM', vt .. '-' .. seq, 't', id)
  if type(entry) ~= 'string' then
    return false
  end
  clock.seq = clock.seq + 1
  local events = whole(clock.events + 1)
  call('HSET', key, 's', 'ready', 'q', queue, 'se', entry, unpack(ARGV, 12))
  call('ZADD', prefix .. 'ready', 'LT', vt, queue)
  list_id(id)
  call('HINCRBY', prefix .. 'counts', 'ready', '1')
  call('XADD', prefix .. 'ev:tasks', events .. '-0', 'at', now_text, 't', 's' .. id)
  call('HSET', clock_key, 'now', now_text, 'seq', seq, 'events', events)
  return true
end

-- Profiles of which some claimer waits.
local function waiting_profiles()
  return redis.call('ZRANGEBYSCORE', prefix .. 'idling', '(' .. whole(now), '+inf', 'LIMIT', '0', '64')
end

-- The usual call: one plain task while nobody waits. Whatever else there is comes after it, so that it builds no more.
local takes_short_way, profiles = is_single and has_room(1), nil
if takes_short_way then
  local id, key = ARGV[5], prefix .. 't:' .. ARGV[5]
  profiles = waiting_profiles()
  if not profiles[1] and redis.call('EXISTS', key) == 0 and enqueue(key, id, ARGV[6]) then
    return {'ok', id, 'created', 'ready'}
  end
end

-- #include "journal"

-- Claim the task for a claimer that waits, and send it along with the bell: no queue sees it.
local function hand_over(id, key, queue, vt, claimer, wish)
  local free, lease = string.match(wish or '', '^(%d+) (%d+)$')
  if not free or free == '0' or PUBLISHES_RINGS then
    return false
  end
  local node, incarnation, profile = string.match(claimer, '^(.*):(%d+):(%x+)$')
  local bell, token, until_ms = prefix .. 'bell:' .. claimer, whole(next_token(0)), now + tonumber(lease)
  local kept_until = whole(until_ms - clock.shift)
  clock.seq = clock.seq + 1
  local turn = vt .. '-' .. whole(clock.seq)
  redis.call('HSET', key, 's', 'claimed', 'q', queue, 'v', turn, 'k', token, 'n', node, 'inc', incarnation,
    'le', kept_until, 'cl', '1', unpack(ARGV, 12))
  local parcel = id .. ' ' .. token .. ' ' .. whole(until_ms) .. ' ' .. queue .. ' ' .. turn .. ' '
  for at = 12, #ARGV do
    parcel = parcel .. #ARGV[at] .. ':' .. ARGV[at]
  end
  redis.call('RPUSH', bell, parcel)
  redis.call('PEXPIRE', bell, BELL_MS)
  redis.call('ZREM', prefix .. 'idle:' .. profile, claimer)
  redis.call('HDEL', prefix .. 'wait:' .. node, claimer)
  redis.call('ZADD', prefix .. 'lease', kept_until, id)
  redis.call('SADD', prefix .. 'held:' .. node, id)
  redis.call('HINCRBY', prefix .. 'counts', 'claimed', '1')
  list_id(id)
  journal({'s' .. id, 'c' .. id .. '\t' .. token})
  save_clock()
  return true
end

-- The first claimer that waits for this queue, and what it wishes.
local function first_waiting(queue)
  for _, profile in ipairs(profiles) do
    if redis.call('ZSCORE', prefix .. 'prof:' .. profile, queue) then
      local idle = prefix .. 'idle:' .. profile
      local claimer = redis.call('ZRANGEBYSCORE', idle, '(' .. whole(now), '+inf', 'LIMIT', '0', '1')[1]
      if claimer then
        return claimer, redis.call('HGET', prefix .. 'wait:' .. string.match(claimer, '^(.*):%d+:%x+$'), claimer)
      end
    end
  end
  return nil
end

-- One plain task for a claimer that waits, or for a queue that those who wait do not serve.
if takes_short_way and profiles[1] then
  local id, queue = ARGV[5], ARGV[6]
  local key = prefix .. 't:' .. id
  local seen = redis.call('EXISTS', key, key, prefix .. 'paused')
  if seen < 2 then
    local claimer, wish = first_waiting(queue)
    if claimer and seen == 0 and hand_over(id, key, queue, whole(now + tonumber(ARGV[7])), claimer, wish) then
      return {'ok', id, 'created', 'claimed'}
    end
    if not claimer and enqueue(key, id, queue) then
      return {'ok', id, 'created', 'ready'}
    end
  end
end

local answers = {'ok'}
-- #include "bells"

-- Whatever a task may ask for. Built only when one does.
local function create_any()
-- #include "tasks"
-- #include "families"
  local limit = tonumber(ARGV[2])
  local created, news, keyed = {}, 0, {}
  local routes, route_total = {}, redis.call('ZCARD', prefix .. 'routes')

  local function state_of(id)
    local record = records[id]
    if record then
      return record.s
    end
    return redis.call('HGET', task_key(id), 's')
  end

  local function known(id, idempotency)
    local state = state_of(id)
    if state then
      return id, state
    end
    if idempotency == '' then
      return nil
    end
    local owner = keyed[idempotency] or redis.call('GET', prefix .. 'idem:' .. idempotency)
    state = owner and state_of(owner)
    if state then
      return owner, state
    end
    return nil
  end

  local function admit(queue)
    local route = route_of(queue)
    if routes[route] == nil then
      routes[route] = true
      if not redis.call('ZSCORE', prefix .. 'routes', route) then
        route_total = route_total + 1
      end
    end
    return route_total <= limit, route
  end

  local function create(at, id, idempotency, parents)
    local record = new_record(id)
    record.q, record.se, record.k, record.i, record.w = ARGV[at + 1], '', '', idempotency, ''
    record.at, record.pin, record.hb, record.cr = '', '', '', ''
    record.ch, record.g, record.x, record.pol = '', '', '', USUAL_POLICY
    records[id] = record
    created[#created + 1] = id
    local delay = tonumber(ARGV[at + 3])
    set(record, 'q', record.q)
    for field = at + 7, at + 6 + tonumber(ARGV[at + 6]), 2 do
      set(record, ARGV[field], ARGV[field + 1])
    end
    if record.hb ~= '' then
      set(record, 'hb', now + tonumber(record.hb))
    end
    if ARGV[at + 4] ~= '' then
      set(record, 'x', now + tonumber(ARGV[at + 4]))
      deadlines[#deadlines + 1] = record.x
      deadlines[#deadlines + 1] = id
    end
    if idempotency ~= '' then
      set(record, 'i', idempotency)
      keyed[idempotency] = id
    end
    local turn = turn_of(now + delay + tonumber(ARGV[at + 2]))
    if delay > 0 or parents then
      set(record, 'c', now)
      set(record, 'v', turn)
    end
    if parents then
      local named = table.concat(parents, ' ')
      if named ~= record.dep then
        set(record, 'dep', named)
      end
      set(record, 'd', now + delay)
      if wait_for(record, parents) then
        return record.s
      end
    end
    if delay > 0 then
      schedule(record, now + delay)
    else
      queue_at_end(record, turn)
    end
    log('submitted', record)
    return record.s
  end

  local function submit(at)
    local id, idempotency = ARGV[at], ARGV[at + 5]
    local owner, state = known(id, idempotency)
    local word = 'known'
    if not owner then
      local admitted, route = admit(ARGV[at + 1])
      if not admitted then
        return {'routes_full', route}
      end
      local parents, unknown = parents_listed(at)
      if unknown then
        return {'unknown_parent', id, unknown}
      end
      owner, state, word = id, create(at, id, idempotency, parents), 'created'
      news = news + (TERMINAL[state] and 0 or 1)
    elseif owner ~= id then
      owners[id] = owner
    end
    local size = #answers
    answers[size + 1], answers[size + 2], answers[size + 3] = owner, word, state
    return nil
  end

  local at = 5
  while at <= #ARGV do
    local refused = submit(at)
    if refused then
      return refused
    end
    at = at + 7 + tonumber(ARGV[at + 6])
  end
  if #created > 0 then
    local fits, waiting = has_room(news)
    if not fits then
      return {'queue_full', waiting, news}
    end
  end
  save_waits()
  flush()
  ids_opened()(created)
  write_kids()
  for idempotency, id in pairs(keyed) do
    redis.call('SET', prefix .. 'idem:' .. idempotency, id)
  end
  return answers
end

-- What each queue is about to get; nil if a route is new, or any task is known already or has no room.
local function plan_plain()
  local keys, queues = {}, {}
  local at = 5
  while at <= #ARGV do
    local queue = ARGV[at + 1]
    local news = queues[queue]
    if not news then
      local used = redis.call('ZSCORE', prefix .. 'routes', string.match(queue, '^(.*):[^:]*$'))
      if not used or now - tonumber(used) > ROUTE_REFRESH_MS then
        return nil
      end
      news = {vt = whole(now + tonumber(ARGV[at + 2])), size = 0}
      queues[queue] = news
    end
    news.size = news.size + 1
    keys[#keys + 1] = prefix .. 't:' .. ARGV[at]
    at = at + 7 + tonumber(ARGV[at + 6])
  end
  if redis.call('EXISTS', unpack(keys)) > 0 or not has_room(#keys) then
    return nil
  end
  return queues
end

local function turn_at(vt)
  clock.seq = clock.seq + 1
  return vt .. '-' .. whole(clock.seq)
end

-- The turn as the id of an entry at the end of the stream; should that be taken, the task goes to the front.
local function append(queue, vt, id)
  local stream, turn = prefix .. 'q:' .. queue, turn_at(vt)
  local entry = redis.pcall('XADD', stream, 'NOMKSTREAM', turn, 't', id)
  if not entry then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    entry = redis.call('XADD', stream, turn, 't', id)
  elseif type(entry) == 'table' then
    redis.call('ZADD', prefix .. 'front:' .. queue, vt, string.format('%012.0f', clock.seq) .. id)
    return 'v', turn
  end
  return 'se', entry
end

-- Take up to `wanted` claimers off the waiting list, those waiting longest first.
local function call_waiting(queue, wanted, called)
  for _, profile in ipairs(profiles) do
    if wanted > 0 and redis.call('ZSCORE', prefix .. 'prof:' .. profile, queue) then
      local idle = prefix .. 'idle:' .. profile
      local names = redis.call('ZRANGEBYSCORE', idle, '(' .. now, '+inf', 'LIMIT', 0, wanted + 1)
      if #names <= wanted then
        redis.call('ZREM', prefix .. 'idling', profile)
      end
      for at = 1, math.min(#names, wanted) do
        redis.call('ZREM', idle, names[at])
        redis.call('HDEL', prefix .. 'wait:' .. string.match(names[at], '^(.*):%d+:%x+$'), names[at])
        called[#called + 1] = names[at]
      end
      wanted = wanted - #names
    end
  end
end

local function enqueue_all(queues)
  local ids, lines = {}, {}
  local at = 5
  while at <= #ARGV do
    local id, queue, last = ARGV[at], ARGV[at + 1], at + 6 + tonumber(ARGV[at + 6])
    local place, turn = append(queue, queues[queue].vt, id)
    redis.call('HSET', prefix .. 't:' .. id, 's', 'ready', 'q', queue, place, turn, unpack(ARGV, at + 7, last))
    ids[#ids + 1] = id
    lines[#lines + 1] = 's' .. id
    local size = #answers
    answers[size + 1], answers[size + 2], answers[size + 3] = id, 'created', 'ready'
    at = last + 1
  end
  for queue, news in pairs(queues) do
    redis.call('ZADD', prefix .. 'ready', 'LT', news.vt, queue)
  end
  redis.call('HINCRBY', prefix .. 'counts', 'ready', #ids)
  journal(lines)
  save_clock()
  ids_opened()(ids)
  return answers
end

local function create_plain(queues)
  profiles = profiles or waiting_profiles()
  local called = {}
  if profiles[1] then
    for queue, news in pairs(queues) do
      call_waiting(queue, news.size, called)
    end
  end
  enqueue_all(queues)
  for _, claimer in ipairs(called) do
    ring_bell(claimer)
  end
  return answers
end

if ARGV[4] == '1' then
  local queues = plan_plain()
  if queues then
    return create_plain(queues)
  end
end
return create_any()
