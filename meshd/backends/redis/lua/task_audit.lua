-- task_audit: hold some tasks against the invariants, and mend the indexes made from them.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  '1' to mend ('' = only look)
-- ARGV[3]  id the call before ended with ('' = begin)
-- ARGV[4]  most tasks
--
-- Returns  {'ok', number of the last event, id to go on from ('' = end), tasks in each state as JSON,
--          invariant, id, what, 'repaired' | '', …}
-- Cost     O((tasks + parents they wait for) · log N)
-- #include "tasks"
-- #include "waits"
-- #include "ids"
local is_mending, most = ARGV[2] == '1', tonumber(ARGV[4])
local answers = {'ok', whole(clock.events), '', ''}
local states, unlisted, keyed, kids = {}, {}, {}, {}
local looks, MOST_LOOKS = 0, 4096

-- Note a breach; returns whether to mend it.
local function find(invariant, id, what, is_mendable)
  local mends = is_mending and is_mendable
  local size = #answers
  answers[size + 1], answers[size + 2], answers[size + 3], answers[size + 4] = invariant, id, what, mends and 'repaired' or ''
  return mends
end

local function index_score(kind, id)
  return redis.call('ZSCORE', prefix .. kind, id)
end

local function touch(record)
  set(record, 's', record.s)
end

local function judge_held(record)
  if record.n == '' or record.k == '' then
    find('I2', record.id, 'it is ' .. record.s .. ' without a holder or a token', false)
    return
  end
  local le = record.le ~= '' and record.le or whole(now - clock.shift)
  local score = index_score('lease', record.id)
  if not score or tonumber(score) ~= tonumber(le) then
    local what = score and ('its lease ends at ' .. le .. ', the index says ' .. score) or 'it is held, and not leased'
    if find('I2', record.id, what, true) then
      touch(record)
      leases[#leases + 1] = le
      leases[#leases + 1] = record.id
    end
  end
  if redis.call('SISMEMBER', prefix .. 'held:' .. record.n, record.id) == 0 then
    if find('I2', record.id, 'it is not among what node ' .. record.n .. ' holds', true) then
      touch(record)
      local list = bucket(held, record.n)
      list[#list + 1] = record.id
    end
  end
end

-- Whether the next claim of its queue comes upon a task in its stream: the entry is there, and behind the cursor.
local function is_ahead(record)
  local stream = prefix .. 'q:' .. record.q
  if redis.call('EXISTS', stream) == 0 or #redis.call('XRANGE', stream, record.se, record.se) == 0 then
    return false
  end
  local cursor = redis.call('HGET', prefix .. 'cursors', record.q)
  if not cursor then
    return true
  end
  local vt, order = parts_of(record.se)
  local read_vt, read_order = parts_of(cursor)
  return vt > read_vt or (vt == read_vt and order > read_order)
end

local function requeue(record)
  touch(record)
  if record.se ~= '' then
    local entries = bucket(acked, record.q)
    entries[#entries + 1] = record.se
  end
  queue_in_front(record)
  count('ready', -1)
end

local function judge_ready(record)
  local turn = record.se ~= '' and record.se or record.v
  local vt = parts_of(turn)
  if not vt then
    if find('I9', record.id, 'it is ready and has no turn', true) then
      set(record, 'v', turn_of(now))
      set(record, 'se', '')
      requeue(record)
    end
    return
  end
  local place, is_queued = place_of(record), nil
  if record.se ~= '' then
    is_queued = is_ahead(record)
  else
    is_queued = index_score('front:' .. record.q .. place, (front_member(record)))
  end
  if not is_queued then
    if find('I9', record.id, 'it is ready, and no queue leads to it', true) then
      requeue(record)
    end
    return
  end
  local head = redis.call('ZSCORE', ready_key(place), record.q)
  if not head or tonumber(head) > vt or not index_score('routes', route_of(record.q)) then
    if find('I9', record.id, 'its queue is not offered as early as it should be', true) then
      touch(record)
      wake(record.q, place, vt)
    end
  end
  if is_placed(record) and not index_score('backs', record.id) then
    if find('I9', record.id, 'it is held back for node ' .. record.at .. ', and nothing ends that', true) then
      touch(record)
      placings[record.id] = {node = record.at, stays = true, opens = number(record.hb)}
    end
  end
end

local function judge_ended(record)
  local kept = redis.call('HGET', task_key(record.id), 'fi')
  local ttl = retention(record.pol, record.s)
  if not index_score('ended:' .. record.s, record.id) then
    if find('I9', record.id, 'it has ended, and nothing will forget it', true) then
      touch(record)
      local list = bucket(ended, record.s)
      list[#list + 1] = number(kept) + ttl
      list[#list + 1] = record.id
    end
  end
  if redis.call('PTTL', task_key(record.id)) < 0 then
    if find('I9', record.id, 'it has ended, and its record never expires', true) then
      touch(record)
      retentions[#retentions + 1] = {record = record, ttl = ttl + SLACK_MS}
    end
  end
end

-- Whether the end of a parent is to be told to a child.
local function is_on_its_way(parent, kid)
  local ends = redis.call('ZRANGEBYLEX', prefix .. 'outbox', '[' .. parent .. ' ', '(' .. parent .. '!', 'LIMIT', 0, 16)
  for _, ended in ipairs(ends) do
    if redis.call('ZSCORE', kids_key(parent, string.match(ended, '%d*$')), kid) then
      return true
    end
  end
  return false
end

local function judge_parent(record, id)
  local parent = load(id, GUARD_FIELDS)
  local generation, is_open = parent and parent.g or '', parent and not TERMINAL[parent.s]
  local is_known = is_open and parent.ch == '1' and redis.call('ZSCORE', kids_key(id, generation), record.id)
  if is_known or is_on_its_way(id, record.id) then
    return
  end
  local state = parent and parent.s or FORGOTTEN
  local what = 'it waits for task ' .. id .. ', which is ' .. state .. ', and will not hear of its end'
  if find('I9', record.id, what, true) then
    touch(record)
    local _, order = parts_of(record.v)
    local list = bucket(kids, kids_key(id, generation))
    list[#list + 1] = order or 0
    list[#list + 1] = record.id
    if is_open then
      set(parent, 'ch', '1')
    else
      outgoing[#outgoing + 1] = id .. ' ' .. state .. ' ' .. generation
    end
  end
end

local function judge_waits(record)
  local waits = redis.call('HGET', task_key(record.id), 'wf') or ''
  if record.s ~= 'blocked' then
    if waits ~= '' then
      find('I6', record.id, 'it is ' .. record.s .. ' while it waits for others', false)
    end
  elseif waits == '' then
    find('I9', record.id, 'it is blocked and waits for nobody', false)
  else
    for parent in string.gmatch(waits, '%S+') do
      judge_parent(record, parent)
      looks = looks + 1
    end
  end
end

local function judge_limits(record)
  local max_attempts, max_crashes = string.match(record.pol, '^(%d+),(%d+)')
  if number(record.cl) > MAX_CLAIMS or number(record.cr) >= tonumber(max_crashes)
    or number(record.f) >= tonumber(max_attempts) then
    find('I5', record.id, record.cl .. ' claims, ' .. record.cr .. ' crashes, ' .. record.f .. ' failures and still '
      .. record.s, false)
  end
end

local function judge_open(record)
  judge_limits(record)
  judge_waits(record)
  if record.x ~= '' and not index_score('dl', record.id) then
    if find('I9', record.id, 'nothing looks at its deadline', true) then
      touch(record)
      deadlines[#deadlines + 1] = record.x
      deadlines[#deadlines + 1] = record.id
    end
  end
  if record.s == 'ready' then
    judge_ready(record)
  elseif record.s == 'scheduled' then
    if not index_score('sched', record.id) then
      if find('I9', record.id, 'it is scheduled, and nothing makes it ready', true) then
        touch(record)
        due[#due + 1] = redis.call('HGET', task_key(record.id), 'd') or now
        due[#due + 1] = record.id
      end
    end
  elseif record.s ~= 'blocked' then
    judge_held(record)
  end
end

local function judge_key(record)
  if record.i == '' then
    return
  end
  local owner = redis.call('GET', prefix .. 'idem:' .. record.i)
  if owner ~= record.id then
    local what = owner and ('its idempotency key names task ' .. owner) or 'its idempotency key names nothing'
    if find('I7', record.id, what, not owner) then
      keyed[#keyed + 1] = record
    end
  end
end

local function judge(id)
  local record = load(id, GUARD_FIELDS)
  if not record then
    if find('strays', id, 'it is listed, and there is no such task', true) then
      unlisted[#unlisted + 1] = id
    end
    return
  end
  states[record.s] = (states[record.s] or 0) + 1
  if number(record.k) > math.max(clock.fence, clock.us) then
    if find('I4', id, 'its token ' .. record.k .. ' is above every token given out', true) then
      touch(record)
      clock.fence = number(record.k)
    end
  end
  judge_key(record)
  if TERMINAL[record.s] then
    judge_ended(record)
  else
    judge_open(record)
  end
end

local function next_ids()
  local after, ids = ARGV[3], {}
  local from = after == '' and '-' or ('(' .. after)
  local first = after ~= '' and chunk_of(after)
  local chunks = redis.call('ZRANGEBYLEX', prefix .. 'ids', from, '+', 'LIMIT', 0, most)
  if first then
    table.insert(chunks, 1, first)
  end
  for _, chunk in ipairs(chunks) do
    for _, id in ipairs(redis.call('ZRANGEBYLEX', chunk_key(chunk), from, '+', 'LIMIT', 0, most - #ids)) do
      ids[#ids + 1] = id
    end
    if #ids >= most then
      break
    end
  end
  return ids
end

local ids = next_ids()
for at, id in ipairs(ids) do
  judge(id)
  if at == most or looks >= MOST_LOOKS then
    answers[3] = id
    break
  end
end
answers[4] = cjson.encode(states)
if is_mending then
  flush()
  for key, members in pairs(kids) do
    redis.call('ZADD', key, unpack(members))
  end
  for _, record in ipairs(keyed) do
    redis.call('SET', prefix .. 'idem:' .. record.i, record.id)
    local ttl = redis.call('PTTL', task_key(record.id))
    if ttl > 0 then
      redis.call('PEXPIRE', prefix .. 'idem:' .. record.i, ttl)
    end
  end
  forget_ids(unlisted)
end
return answers
