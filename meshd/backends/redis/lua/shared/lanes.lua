-- lanes: the queues a claimer serves, merged by virtual time; and all that few meshes have: pauses, tasks placed on a
-- node, suspects, and a bell that nobody answered.
local opened, known, paused, horizon, seen_heads = {}, {}, nil, nil, 0
local PAGE = 64

local function ready_of(place)
  return prefix .. (place == '' and 'ready' or ('ready:' .. place))
end

local function item_of(entry)
  return {vt = turn_of(entry[1]), id = entry[2][2], entry = entry[1]}
end

local function front_item_of(member, vt)
  return {vt = tonumber(vt), id = string.sub(member, 13), entry = '', member = member}
end

local function order_of(item)
  return tonumber(item.member and string.sub(item.member, 1, 12) or string.match(item.entry, '%d+$'))
end

local function is_before(one, other)
  return one.vt < other.vt or (one.vt == other.vt and order_of(one) < order_of(other))
end

-- Read on in a queue: its stream and its front merged, as far as the order is certain.
local function fill(lane, size)
  local entries = {}
  if lane.place == '' then
    entries = redis.call('XRANGE', lane.stream, '(' .. lane.last, '+', 'COUNT', size)
  end
  local front = redis.call('ZRANGE', lane.front, lane.offset, lane.offset + size - 1, 'WITHSCORES')
  local buffer, entry_at, front_at = {}, 1, 1
  while true do
    local entry = entries[entry_at] and item_of(entries[entry_at])
    local other = front[front_at] and front_item_of(front[front_at], front[front_at + 1])
    if (not entry and (not other or #entries == size)) or (entry and not other and #front == 2 * size) then
      break
    end
    if entry and (not other or is_before(entry, other)) then
      buffer[#buffer + 1] = entry
      lane.last = entry.entry
      entry_at = entry_at + 1
    else
      buffer[#buffer + 1] = other
      lane.offset = lane.offset + 1
      front_at = front_at + 2
    end
  end
  lane.buffer, lane.at = buffer, 1
end

local function open_lane(lane)
  lane.stream, lane.front = prefix .. 'q:' .. lane.queue, prefix .. 'front:' .. lane.queue .. lane.place
  lane.offset, lane.reads, lane.fronts = 0, 0, {}
  lane.last = lane.place == '' and redis.call('HGET', prefix .. 'cursors', lane.queue) or '0-0'
  opened[#opened + 1] = lane
end

local function head(lane, size)
  if not lane.reads then
    open_lane(lane)
  end
  if not lane.buffer or lane.at > #lane.buffer then
    fill(lane, size)
  end
  return lane.buffer[lane.at]
end

local function insert(lanes, lane)
  local at = #lanes + 1
  while at > 1 and lanes[at - 1].vt > lane.vt do
    at = at - 1
  end
  table.insert(lanes, at, lane)
end

-- The same queue in two places keeps one order, down to the number of submission; queues go by virtual time alone.
local function yields(lane, item)
  local twin = lane.twin
  if not twin or twin.vt ~= item.vt then
    return false
  end
  local other = head(twin, 8)
  return other ~= nil and is_before(other, item)
end

local function consume(lane, item)
  lane.at = lane.at + 1
  if item.entry == '' then
    lane.fronts[#lane.fronts + 1] = item.member
  else
    lane.reads, lane.cursor = lane.reads + 1, item.entry
  end
  look(lane.queue, lane.place, item.id, item.entry)
end

-- Whether the type is paused, or the route has the term `!node`: the one requirement that profiles leave open.
local function is_refused(queue)
  if not paused and not string.find(queue, '+!', 1, true) then
    return false
  end
  local route = string.match(queue, '^(.*):[^:]*$')
  return paused and paused[string.match(route, '^[^+]+')]
    or string.find(route .. '+', '+!' .. node .. '+', 1, true) ~= nil
end

local function add(lanes, place, queue, vt)
  if is_refused(queue) then
    return
  end
  local lane = {queue = queue, vt = tonumber(vt), place = place}
  local twin = known[queue]
  if twin and twin.place == place then
    return
  elseif twin then
    lane.twin, twin.twin = twin, lane
  end
  known[queue] = lane
  insert(lanes, lane)
end

-- Every queue of a place that is not empty and that the claimer serves.
local function add_all(lanes, place)
  local heads = redis.call('ZINTER', 2, ready_of(place), profile_key, 'WEIGHTS', 1, 0, 'WITHSCORES')
  for at = 1, #heads, 2 do
    add(lanes, place, heads[at], heads[at + 1])
  end
  return lanes
end

-- Add the next of the queues served, in order of their turn; what comes after them is beyond the horizon.
local function look_further(lanes)
  if redis.call('ZCARD', profile_key) <= FEW then
    horizon = nil
    add_all(lanes, '')
    return
  end
  local size = seen_heads == 0 and limit + 1 or PAGE
  local heads, queues = redis.call('ZRANGE', ready_of(''), seen_heads, seen_heads + size - 1, 'WITHSCORES'), {}
  for at = 1, #heads, 2 do
    queues[#queues + 1] = heads[at]
  end
  local is_served = queues[1] and redis.call('ZMSCORE', profile_key, unpack(queues))
  for at, queue in ipairs(queues) do
    if is_served[at] then
      add(lanes, '', queue, heads[2 * at])
    end
  end
  seen_heads = seen_heads + size
  horizon = #queues == size and tonumber(heads[#heads]) or nil
end

-- Take from a lane as long as no other is before it.
local function take_turn(lane, bound)
  lane.size = math.min((lane.size or 1) * 2, PAGE)
  local size = bound and lane.size or math.min(limit - taken + 1, MAX_BATCH)
  local item = head(lane, size)
  while item and not is_full() and not (bound and item.vt > bound) and not yields(lane, item) do
    consume(lane, item)
    item = head(lane, size)
  end
  lane.vt = item and item.vt
  return item
end

local function merge(lanes)
  while not is_full() do
    while horizon and (not lanes[1] or lanes[1].vt > horizon) do
      look_further(lanes)
    end
    if not lanes[1] then
      return
    end
    local lane, bound = table.remove(lanes, 1), horizon
    if lanes[1] and not (bound and bound < lanes[1].vt) then
      bound = lanes[1].vt
    end
    if take_turn(lane, bound) then
      insert(lanes, lane)
    end
  end
end

local function put(map, key, first, second)
  local list = map[key] or {}
  map[key] = list
  list[#list + 1] = first
  list[#list + 1] = second
end

-- Deliver what was looked at: all queues of which equally many were taken with one command.
local function deliver(streams_by_count)
  for count, streams in pairs(streams_by_count) do
    local size = #streams
    for at = 1, size do
      streams[size + at] = '>'
    end
    redis.call('XREADGROUP', 'GROUP', GROUP, node, 'COUNT', count, 'STREAMS', unpack(streams))
  end
end

-- Note how far each queue was read and which turn is next in it, with one command for all of a kind.
local function advance_all()
  local reads, cursors, heads, emptied = {}, {}, {}, {}
  for _, lane in ipairs(opened) do
    if lane.reads > 0 then
      put(reads, lane.reads, lane.stream)
      put(cursors, prefix .. 'cursors', lane.queue, lane.cursor)
    end
    if #lane.fronts > 0 then
      redis.call('ZREM', lane.front, unpack(lane.fronts))
    end
    if lane.vt then
      put(heads, ready_of(lane.place), whole(lane.vt), lane.queue)
    else
      put(emptied, ready_of(lane.place), lane.queue)
    end
  end
  deliver(reads)
  for command, map in pairs({HSET = cursors, ZADD = heads, ZREM = emptied}) do
    for key, items in pairs(map) do
      redis.call(command, key, unpack(items))
    end
  end
end

-- Empty the bell. What was handed over and has not reached the claimer is answered, unless it was taken back since.
local function take_handed_over()
  for _, element in ipairs(redis.call('LPOP', bell_key, MAX_BATCH) or {}) do
    local id, token = string.match(element, '^(%S+) (%d+) ')
    local found = id and token ~= read_token and redis.call('HMGET', prefix .. 't:' .. id, 's', 'k') or {}
    local is_waiting = found[1] == 'claimed' and found[2] == token
    if is_waiting and is_alone then
      redis.call('RPUSH', bell_key, element)
      redis.call('PEXPIRE', bell_key, BELL_MS)
    elseif is_waiting then
      local size = #answers
      answers[size + 1], answers[size + 2], answers[size + 3] = id, '', redis.call('HGETALL', prefix .. 't:' .. id)
      taken = taken + 1
    end
  end
end

-- Claim from every lane there is a reason to look into; return whether suspects wait.
local function claim_from_lanes(is_rare)
  local lanes, suspects = {}, {}
  if is_rare then
    take_handed_over()
    paused = {}
    for _, task_type in ipairs(redis.call('SMEMBERS', prefix .. 'paused')) do
      paused[task_type] = true
    end
    if not paused['*'] then
      add_all(add_all(suspects, '~'), '~' .. own)
    end
  end
  if not is_alone and not (paused and paused['*']) then
    known, horizon = {}, 0
    if is_rare then
      add_all(lanes, own)
    end
  end
  merge(is_alone and suspects or lanes)
  advance_all()
  return suspects[1] ~= nil
end
