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
-- Cost     O(limit · log N + queues served that are not empty)
-- #include "journal"
local node, incarnation, profile, bell = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, lease, patience, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local is_alone, read_token = ARGV[10] == '1', ARGV[11]
local profile_key, bell_key, own = prefix .. 'prof:' .. profile, prefix .. 'bell:' .. bell, '@' .. node
local profile_ttl = redis.call('PTTL', profile_key)
if profile_ttl < 0 then
  return {'profile'}
end

local until_ms = now + lease - clock.shift
local answers = {'ok', now, now + lease, clock.shift, 'all', 'none'}
local taken, taken_bytes, looked = 0, 0, 0
local FIRST_HEADS = 16
local lines, leases, mine, overdue, stale, unplaced = {}, {}, {}, {}, {}, {}

local function is_full()
  return taken >= limit or taken_bytes >= most_bytes or looked >= limit + MAX_BATCH
end

-- What a record says about its turn to be claimed: where it waits must be where it was found.
local function is_claimable(lane, entry, state, found_entry, node_placed, crashes)
  local place = (tonumber(crashes) or 0) > 0 and '~' or ''
  if node_placed and node_placed ~= '' then
    place = place .. '@' .. node_placed
  end
  return state == 'ready' and (found_entry or '') == entry and place == lane.place
end

-- Look at the next task of a queue: hand it out, or note that it is overdue, or that no record stands behind its entry.
local function look(lane, id, entry)
  local key = prefix .. 't:' .. id
  local values = redis.call('HGETALL', key)
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
  if not is_claimable(lane, entry, state, found_entry, node_placed, crashes) then
    stale[#stale + 1] = {queue = lane.queue, entry = entry}
  elseif deadline and deadline ~= '' and tonumber(deadline) <= now then
    overdue[#overdue + 1] = id
  else
    local new_token = whole(next_token(tonumber(token) or 0))
    redis.call('HSET', key, 's', 'claimed', 'k', new_token, 'n', node, 'inc', incarnation, 'le', until_ms,
      'cl', (tonumber(claims) or 0) + 1)
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

-- The usual case: one queue has something, and nothing came back to its front. What is delivered is looked at.
local function drain(queue)
  local lane = {queue = queue, place = ''}
  local stream, cursor, entries, wanted = prefix .. 'q:' .. queue, nil, nil, nil
  repeat
    wanted = math.min(limit - taken, MAX_BATCH)
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, node, 'COUNT', wanted, 'STREAMS', stream, '>')
    entries = reply and reply[1][2] or {}
    for at, entry in ipairs(entries) do
      if taken_bytes >= most_bytes then
        for rest = at, #entries do
          redis.call('XACK', stream, GROUP, entries[rest][1])
        end
        redis.call('XGROUP', 'SETID', stream, GROUP, cursor)
        break
      end
      cursor = entry[1]
      look(lane, entry[2][2], cursor)
    end
  until #entries < wanted or is_full()
  local following
  if cursor then
    redis.call('HSET', prefix .. 'cursors', queue, cursor)
    following = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', 1)[1]
  end
  if following then
    redis.call('ZADD', prefix .. 'ready', string.match(following[1], '^%d+'), queue)
  else
    redis.call('ZREM', prefix .. 'ready', queue)
  end
end

-- Everything else. Built only when it is needed.
local function lanes_opened()
-- #include "lanes"
  return claim_from_lanes
end

-- Hand out what there is; return whether suspects wait.
local function claim()
  local rare = redis.call('EXISTS', bell_key, prefix .. 'paused', prefix .. 'ready:' .. own, prefix .. 'ready:~',
    prefix .. 'ready:~' .. own)
  if rare > 0 or is_alone then
    return lanes_opened()()
  end
  local heads = redis.call('ZRANGE', prefix .. 'ready', 0, FIRST_HEADS - 1, 'WITHSCORES')
  if not heads[1] then
    return false
  end
  local queues, served = {}, nil
  for at = 1, #heads, 2 do
    queues[#queues + 1] = heads[at]
  end
  local is_served = redis.call('ZMSCORE', profile_key, unpack(queues))
  for at, queue in ipairs(queues) do
    if is_served[at] then
      served = not served and queue or ''
    end
  end
  if not served and #queues < FIRST_HEADS then
    return false
  end
  local front = prefix .. 'front:' .. (served or '')
  local is_usual = served and #queues < FIRST_HEADS and not string.find(served, '+!', 1, true)
  if is_usual and redis.call('EXISTS', front, front, prefix .. 'q:' .. served) == 1 then
    drain(served)
    return false
  end
  return lanes_opened()(heads, is_served)
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
