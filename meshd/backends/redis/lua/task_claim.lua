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
--
-- Returns  {'ok', lease end, 'more' | 'all', id, token, {field, value, …}, …} | {'profile'} when it is not registered
-- Cost     O(limit · log N + queues served that are not empty)
-- #include "tasks"
local node, incarnation, profile, bell = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, lease, patience, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local profile_key, ready_key = prefix .. 'prof:' .. profile, prefix .. 'ready'
local profile_ttl = redis.call('PTTL', profile_key)
if profile_ttl < 0 then
  return {'profile'}
end

local taken, taken_bytes, looked = {}, 0, 0
local opened = {}

local function virtual_time(entry)
  return tonumber(string.match(entry, '^%d+'))
end

-- Read on in a queue: its stream and its front merged, as far as the order is certain.
local function fill(lane, size)
  local entries = redis.call('XRANGE', lane.stream, '(' .. lane.last, '+', 'COUNT', size)
  local front = redis.call('ZRANGE', lane.front, lane.offset, lane.offset + size - 1, 'WITHSCORES')
  local buffer, entry_at, front_at = {}, 1, 1
  while true do
    local entry, id, vt = entries[entry_at], front[front_at], tonumber(front[front_at + 1])
    if (not entry and (not id or #entries == size)) or (entry and not id and #front == 2 * size) then
      break
    end
    if entry and (not id or virtual_time(entry[1]) < vt) then
      buffer[#buffer + 1] = {vt = virtual_time(entry[1]), id = entry[2][2], entry = entry[1]}
      lane.last = entry[1]
      entry_at = entry_at + 1
    else
      buffer[#buffer + 1] = {vt = vt, id = id, entry = ''}
      lane.offset = lane.offset + 1
      front_at = front_at + 2
    end
  end
  lane.buffer, lane.at = buffer, 1
end

local function open(lane)
  lane.stream, lane.front = prefix .. 'q:' .. lane.queue, prefix .. 'front:' .. lane.queue
  lane.last = redis.call('HGET', prefix .. 'cursors', lane.queue) or '0-0'
  lane.offset, lane.reads, lane.fronts = 0, 0, {}
  opened[#opened + 1] = lane
end

local function head(lane, size)
  if not lane.buffer then
    open(lane)
  end
  if not lane.buffer or lane.at > #lane.buffer then
    fill(lane, size)
  end
  return lane.buffer[lane.at]
end

local function place(lanes, lane)
  local at = 1
  while lanes[at] and lanes[at].vt <= lane.vt do
    at = at + 1
  end
  table.insert(lanes, at, lane)
end

local function consume(lane, item)
  lane.at = lane.at + 1
  looked = looked + 1
  if item.entry == '' then
    lane.fronts[#lane.fronts + 1] = item.id
  else
    lane.reads = lane.reads + 1
    lane.cursor = item.entry
  end
end

local function discard(lane, item)
  if item.entry ~= '' then
    local list = bucket(acked, lane.queue)
    list[#list + 1] = item.entry
  end
end

local function take(item, values, bytes, token, claims)
  taken_bytes = taken_bytes + bytes
  taken[#taken + 1] = {
    id = item.id, token = whole(next_token(number(token))), values = values, claims = number(claims) + 1,
  }
end

-- Look at the next item of a queue: hand it out, expire it, or drop an index entry that no record stands behind.
local function look(lane, item)
  local values = redis.call('HGETALL', task_key(item.id))
  local fields, bytes = {s = nil, q = nil, c = nil, m = nil, pol = nil, pl = nil, v = nil, se = nil}, 0
  for at = 1, #values, 2 do
    local value = values[at + 1]
    fields[values[at]] = value
    bytes = bytes + #value
  end
  consume(lane, item)
  if fields.s ~= 'ready' or (fields.se or '') ~= item.entry then
    discard(lane, item)
  elseif fields.x and fields.x ~= '' and tonumber(fields.x) <= now then
    expire(load(item.id, GUARD_FIELDS))
  else
    take(item, values, bytes, fields.k, fields.cl)
  end
end

local function is_full()
  return #taken >= limit or taken_bytes >= most_bytes or looked >= limit + MAX_BATCH
end

local function merge(lanes)
  while lanes[1] and not is_full() do
    local lane = table.remove(lanes, 1)
    local rival = lanes[1]
    local size = rival and 8 or math.min(limit - #taken + 1, MAX_BATCH)
    local item = head(lane, size)
    while item and not is_full() and not (rival and item.vt > rival.vt) do
      look(lane, item)
      item = head(lane, size)
    end
    lane.vt = item and item.vt
    if item then
      place(lanes, lane)
    end
  end
end

local function record_claims()
  local until_ms = now + lease - clock.shift
  local mine = bucket(held, node)
  for _, task in ipairs(taken) do
    redis.call('HSET', task_key(task.id), 's', 'claimed', 'k', task.token, 'n', node, 'inc', incarnation,
      'le', until_ms, 'cl', task.claims)
    leases[#leases + 1] = until_ms
    leases[#leases + 1] = task.id
    mine[#mine + 1] = task.id
    lines[#lines + 1] = 'claimed\t' .. task.id .. '\tclaimed\t' .. task.token
  end
  if #taken == 0 then
    held = {}
  end
  count('ready', -#taken)
  count('claimed', #taken)
end

local function advance_queues()
  for _, lane in ipairs(opened) do
    if lane.reads > 0 then
      redis.call('XREADGROUP', 'GROUP', GROUP, node, 'COUNT', lane.reads, 'STREAMS', lane.stream, '>')
      redis.call('HSET', prefix .. 'cursors', lane.queue, lane.cursor)
    end
    variadic('ZREM', lane.front, lane.fronts)
    if lane.vt then
      redis.call('ZADD', ready_key, lane.vt, lane.queue)
    else
      redis.call('ZREM', ready_key, lane.queue)
    end
  end
end

local function register()
  local idle_key, idling_key = prefix .. 'idle:' .. profile, prefix .. 'idling'
  if profile_ttl < PROFILE_TTL_MS / 2 then
    redis.call('PEXPIRE', profile_key, PROFILE_TTL_MS)
  end
  if #taken >= limit then
    redis.call('ZREM', idle_key, bell)
  elseif not is_full() then
    redis.call('ZADD', idle_key, now + patience, bell)
    redis.call('PEXPIRE', idle_key, patience + BELL_MS)
    redis.call('ZADD', idling_key, 'GT', now + patience, profile)
    redis.call('PEXPIRE', idling_key, patience + BELL_MS)
    redis.call('DEL', prefix .. 'bell:' .. bell)
  end
end

local lanes = {}
local heads = redis.call('ZINTER', 2, ready_key, profile_key, 'WEIGHTS', 1, 0, 'WITHSCORES')
for at = 1, #heads, 2 do
  lanes[#lanes + 1] = {queue = heads[at], vt = tonumber(heads[at + 1])}
end
merge(lanes)
advance_queues()
record_claims()
flush()
register()
local answers = {'ok', now + lease, is_full() and 'more' or 'all'}
for _, task in ipairs(taken) do
  local size = #answers
  answers[size + 1], answers[size + 2], answers[size + 3] = task.id, task.token, task.values
end
return answers
