-- task_claim: hand out ready tasks, smallest virtual time first, or register the claimer as waiting.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  incarnation
-- ARGV[4]  profile of the claimer
-- ARGV[5]  name of the claimer's bell
-- ARGV[6]  most tasks to hand out
-- ARGV[7]  lease, ms
-- ARGV[8]  how long the claimer waits for its bell, ms
-- ARGV[9]  most bytes of field values
-- ARGV[10]  '1': hand out one suspect and nothing else ('' = no suspects)
-- ARGV[11]  token of the task that the claimer read from its bell, which is still there ('' = none)
--
-- Returns  {'ok', now, lease end, lease shift, 'more' | 'all', 'suspects' that wait | 'none',
--          id, token, {field, value, …} before the claim, … and for what was handed over before: id, '', {…} now}
--          | {'profile'} when it is not registered
-- Cost     O(limit · log N); O(queues not empty) more if few of those next are served, or something is rare
-- #include "journal"
local node, incarnation, profile, bell = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, lease, patience, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local is_alone, read_token = ARGV[10] == '1', ARGV[11]
local profile_key, bell_key, own = prefix .. 'prof:' .. profile, prefix .. 'bell:' .. bell, '@' .. node
local profile_ttl = redis.call('PTTL', profile_key)
if profile_ttl < 0 then
  return {'profile'}
end

-- As text: a number in a call is written with seventeen digits, which costs several times as much.
local until_ms = whole(now + lease - clock.shift)
local answers = {'ok', now, now + lease, clock.shift, 'all', 'none'}
local taken, taken_bytes, looked, call = 0, 0, 0, redis.call
local FEW = 64
local lines, leases, mine, overdue, stale, unplaced = {}, {}, {}, {}, {}, {}

local function is_full()
  return taken >= limit or taken_bytes >= most_bytes or looked >= limit + MAX_BATCH
end

-- What a record says about its turn to be claimed: where it waits must be where it was found.
local function is_claimable(place, entry, state, found_entry, node_placed, crashes)
  local own_place = (tonumber(crashes) or 0) > 0 and '~' or ''
  if node_placed and node_placed ~= '' then
    own_place = own_place .. '@' .. node_placed
  end
  return state == 'ready' and (found_entry or '') == entry and own_place == place
end

-- Look at the next task of a queue: hand it out, or note that it is overdue, or that no record stands behind its entry.
local function look(queue, place, id, entry)
  local key = prefix .. 't:' .. id
  local values = call('HGETALL', key)
  local state, found_entry, token, claims, deadline, node_placed, pinned, crashes
  local bytes = 0
  for at = 1, #values, 2 do
    local field, value = values[at], values[at + 1]
    bytes = bytes + #value
    if field == 's' then state = value
    elseif field == 'se' then found_entry = value
    elseif field == 'k' then token = value
    elseif field == 'cl' then claims = value
    elseif field == 'x' then deadline = value
    elseif field == 'at' then node_placed = value
    elseif field == 'pin' then pinned = value
    elseif field == 'cr' then crashes = value
    end
  end
  looked = looked + 1
  if not is_claimable(place, entry, state, found_entry, node_placed, crashes) then
    stale[#stale + 1] = {queue = queue, entry = entry}
  elseif deadline and deadline ~= '' and tonumber(deadline) <= now then
    overdue[#overdue + 1] = id
  else
    local new_token = whole(next_token(tonumber(token) or 0))
    call('HSET', key, 's', 'claimed', 'k', new_token, 'n', node, 'inc', incarnation, 'le', until_ms,
      'cl', claims and whole((tonumber(claims) or 0) + 1) or '1')
    taken, taken_bytes = taken + 1, taken_bytes + bytes
    local claimed = #lines + 1
    leases[2 * claimed - 1], leases[2 * claimed], mine[claimed] = until_ms, id, id
    lines[claimed] = 'c' .. id .. '\t' .. new_token
    local size = #answers
    answers[size + 1], answers[size + 2], answers[size + 3] = id, new_token, values
    if node_placed and node_placed ~= '' and pinned ~= '1' then
      unplaced[#unplaced + 1] = id
    end
  end
end

local function change(command, key, items)
  if items[1] then
    redis.call(command, key, unpack(items))
  end
end

local function turn_of(entry)
  return tonumber(string.match(entry, '^%d+'))
end

-- Let the next reader of a queue begin after `cursor` again, though these entries were delivered.
local function put_back(queue, cursor, entries, from)
  local stream, ids = prefix .. 'q:' .. queue, {}
  for at = from, #entries do
    ids[#ids + 1] = entries[at][1]
  end
  redis.call('XACK', stream, GROUP, unpack(ids))
  redis.call('XGROUP', 'SETID', stream, GROUP, cursor or redis.call('HGET', prefix .. 'cursors', queue) or '0')
end

local function note_cursor(queue, cursor)
  redis.call('HSET', prefix .. 'cursors', queue, cursor)
  local following = redis.call('XRANGE', prefix .. 'q:' .. queue, '(' .. cursor, '+', 'COUNT', '1')[1]
  if following then
    redis.call('ZADD', prefix .. 'ready', string.match(following[1], '^%d+'), queue)
  else
    redis.call('ZREM', prefix .. 'ready', queue)
  end
end

-- The usual case: one queue is next, and nothing came back to its front. What is delivered is looked at, up to where
-- another queue has its turn; return whether it came to that.
local function drain(queue, bound)
  local stream, cursor, entries, wanted, is_bound = prefix .. 'q:' .. queue, nil, nil, nil, false
  repeat
    wanted = math.min(limit - taken, MAX_BATCH)
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, node, 'COUNT', wanted, 'STREAMS', stream, '>')
    entries = reply and reply[1][2] or {}
    for at, entry in ipairs(entries) do
      is_bound = bound and turn_of(entry[1]) > bound
      if is_bound or taken_bytes >= most_bytes then
        put_back(queue, cursor, entries, at)
        break
      end
      cursor = entry[1]
      look(queue, '', entry[2][2], cursor)
    end
  until is_bound or #entries < wanted or is_full()
  if cursor then
    note_cursor(queue, cursor)
  elseif not is_bound then
    redis.call('ZREM', prefix .. 'ready', queue)
  end
  return is_bound or (bound and not is_full())
end

-- Deliver the first entry of each of several queues. Returns {stream, {entry}} of those that had one, the turn of each,
-- that of what follows each, and the smallest of these, or 0 if the queues are not in order after all. nil if nothing
-- was delivered: something came back to a front, or a stream is not there.
local function first_of_each(queues)
  local fronts, streams, size = {}, {}, #queues
  for at, queue in ipairs(queues) do
    fronts[at], streams[at], streams[size + at] = prefix .. 'front:' .. queue, prefix .. 'q:' .. queue, '>'
  end
  local reply = redis.call('EXISTS', unpack(fronts)) == 0
    and redis.pcall('XREADGROUP', 'GROUP', GROUP, node, 'COUNT', '1', 'STREAMS', unpack(streams))
  if not reply or not reply[1] then
    return nil
  end
  local read, turns, following, count, after = {}, {}, {}, #reply, math.huge
  for at, found in ipairs(reply) do
    read[at], read[count + at] = found[1], found[2][1][1]
    turns[at] = turn_of(read[count + at])
    if at > 1 and turns[at] < turns[at - 1] then
      after = 0
    end
  end
  local at = 0
  for _, found in ipairs(redis.call('XREAD', 'COUNT', '1', 'STREAMS', unpack(read)) or {}) do
    repeat at = at + 1 until read[at] == found[1]
    following[at] = string.match(found[2][1][1], '^%d+')
    after = math.min(after, tonumber(following[at]))
  end
  return reply, turns, following, after
end

-- Take one task of each queue that fills the claim, and put back what comes after another one's second task.
local function take_of_each(served, bound)
  local queues = {unpack(served, 1, limit)}
  local reply, turns, following, after = first_of_each(queues)
  if not reply then
    return
  end
  local cursors, heads, emptied, is_all = {}, {}, {}, #reply == #queues
  bound = math.min(bound or math.huge, after)
  for at, found in ipairs(reply) do
    local queue, entry, head = is_all and queues[at] or string.sub(found[1], #prefix + 3), found[2][1], following[at]
    if is_full() or turns[at] > bound then
      head = whole(turns[at])
      put_back(queue, nil, {entry}, 1)
    else
      cursors[#cursors + 1], cursors[#cursors + 2] = queue, entry[1]
      look(queue, '', entry[2][2], entry[1])
    end
    if head then
      heads[#heads + 1], heads[#heads + 2] = head, queue
    else
      emptied[#emptied + 1] = queue
    end
  end
  change('HSET', prefix .. 'cursors', cursors)
  change('ZADD', prefix .. 'ready', heads)
  change('ZREM', prefix .. 'ready', emptied)
end

-- Everything else. Built only when it is needed.
local function lanes_opened()
-- #include "lanes"
  return claim_from_lanes
end

-- Of the queues whose turn is first those that are served, the one after as many as fill the claim, and whether these
-- are all there are. A claimer that serves few queues, and none of those, is told all of its own.
local function first_served()
  local queues = redis.call('ZRANGE', prefix .. 'ready', '0', limit)
  local is_served = queues[1] and redis.call('ZMSCORE', profile_key, unpack(queues)) or {}
  local served, is_all = {}, #queues <= limit
  for at, queue in ipairs(queues) do
    if is_served[at] then
      served[#served + 1] = queue
    end
  end
  if not served[1] and not is_all and redis.call('ZCARD', profile_key) <= FEW then
    served, is_all = redis.call('ZINTER', '2', prefix .. 'ready', profile_key, 'WEIGHTS', '1', '0'), true
  end
  return served, served[limit + 1] or (not is_all and queues[#queues]), is_all
end

-- When the first of these queues have their turn, the last that fills the claim, and the one after it.
local function turns_of(served, rival)
  local scores = redis.call('ZMSCORE', prefix .. 'ready', served[1], served[limit] or served[1], rival or served[1])
  return scores[1], scores[2], rival and tonumber(scores[3]) or nil
end

-- Take the usual ways as far as they go; return whether there is nothing left to do.
local function take_short()
  local served, rival, is_all = first_served()
  local first = served[1]
  if not first or string.find(table.concat(served, ' ', 1, math.min(#served, limit)), '+!', 1, true) then
    return not first and is_all
  elseif limit == 1 or not served[2] and not rival then
    local bound = rival and select(3, turns_of(served, rival))
    local front = prefix .. 'front:' .. first
    return redis.call('EXISTS', front, front, prefix .. 'q:' .. first) == 1 and not drain(first, bound)
  elseif served[limit] then
    -- Likely that no queue has two tasks among those that are next: their turn is at once, or the queues are many.
    local turn, last, bound = turns_of(served, rival)
    if turn == last or redis.call('ZCARD', prefix .. 'ready') >= limit * limit then
      take_of_each(served, bound)
    end
  end
  return is_full()
end

-- Hand out what there is; return whether suspects wait.
local function claim()
  local rare = redis.call('EXISTS', bell_key, prefix .. 'paused', prefix .. 'ready:' .. own, prefix .. 'ready:~',
    prefix .. 'ready:~' .. own)
  local is_rare = rare > 0 or is_alone
  return (is_rare or not take_short()) and lanes_opened()(is_rare)
end

local function register()
  local idle_key, idling_key, wait_key = prefix .. 'idle:' .. profile, prefix .. 'idling', prefix .. 'wait:' .. node
  if profile_ttl < PROFILE_TTL_MS / 2 then
    redis.call('PEXPIRE', profile_key, PROFILE_TTL_MS)
  end
  if taken >= limit then
    if redis.call('ZREM', idle_key, bell) == 1 then
      redis.call('HDEL', wait_key, bell)
    end
  elseif not is_full() then
    redis.call('ZADD', idle_key, now + patience, bell)
    redis.call('PEXPIRE', idle_key, patience + BELL_MS)
    redis.call('ZADD', idling_key, 'GT', now + patience, profile)
    redis.call('PEXPIRE', idling_key, patience + BELL_MS)
    redis.call('HSET', wait_key, bell, (is_alone and 0 or limit - taken) .. ' ' .. lease)
    redis.call('PEXPIRE', wait_key, patience + BELL_MS)
  end
end

local function write_claims()
  redis.call('ZADD', prefix .. 'lease', unpack(leases))
  redis.call('SADD', prefix .. 'held:' .. node, unpack(mine))
  redis.call('HINCRBY', prefix .. 'counts', 'ready', -#lines)
  redis.call('HINCRBY', prefix .. 'counts', 'claimed', #lines)
  if #unplaced > 0 then
    redis.call('SREM', prefix .. 'placed:' .. node, unpack(unplaced))
    redis.call('ZREM', prefix .. 'backs', unpack(unplaced))
  end
  journal(lines)
  save_clock()
end

local function expire_overdue()
-- #include "tasks"
  for _, id in ipairs(overdue) do
    expire(load(id, GUARD_FIELDS))
  end
  flush()
end

if is_alone then
  limit = 1
end
local suspects_wait = claim()
for _, item in ipairs(stale) do
  if item.entry ~= '' then
    redis.call('XACK', prefix .. 'q:' .. item.queue, GROUP, item.entry)
    redis.call('XDEL', prefix .. 'q:' .. item.queue, item.entry)
  end
end
if #lines > 0 then
  write_claims()
end
if #overdue > 0 then
  expire_overdue()
end
register()
answers[5] = is_full() and 'more' or 'all'
answers[6] = suspects_wait and 'suspects' or 'none'
return answers
