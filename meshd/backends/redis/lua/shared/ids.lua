-- ids: the ids of all tasks kept, in order, in chunks small enough to be stored compactly. `ids` names each chunk by the
-- smallest id it may hold, and the clock's `chunk` is the newest.
-- #include "constants"
local function chunk_key(chunk)
  return prefix .. 'ids:' .. chunk
end

-- The chunk that an id belongs to; nil if the id is smaller than any.
local function chunk_of(id)
  return redis.call('ZREVRANGEBYLEX', prefix .. 'ids', '[' .. id, '-', 'LIMIT', 0, 1)[1]
end

-- Begin a chunk with an id; what comes after it moves there from the chunk it belonged to so far.
local function begin_chunk(id, before)
  redis.call('ZADD', prefix .. 'ids', 0, id)
  local later = {}
  for _, other in ipairs(before and redis.call('ZRANGEBYLEX', chunk_key(before), '(' .. id, '+') or {}) do
    later[#later + 1] = 0
    later[#later + 1] = other
  end
  if #later > 0 then
    redis.call('ZREMRANGEBYLEX', chunk_key(before), '(' .. id, '+')
    redis.call('ZADD', chunk_key(id), unpack(later))
  end
  return id
end

local function add_members(chunk, members)
  if #members > 0 then
    redis.call('ZADD', chunk_key(chunk), unpack(members))
  end
end

-- Add sorted ids older than the newest chunk, up to the one at `last`; return where to go on.
-- A full chunk is divided, so that chunks stay small in whatever order ids come.
local function add_late_ids(ids, at, last)
  local chunk = chunk_of(ids[at])
  local size = chunk and redis.call('ZCARD', chunk_key(chunk))
  if not chunk or size >= 2 * IDS_PER_CHUNK then
    chunk = begin_chunk(ids[at], chunk)
    size = redis.call('ZCARD', chunk_key(chunk))
  end
  local following = redis.call('ZRANGEBYLEX', prefix .. 'ids', '(' .. chunk, '+', 'LIMIT', 0, 1)[1]
  local members = {}
  repeat
    members[#members + 1] = 0
    members[#members + 1] = ids[at]
    at, size = at + 1, size + 1
  until at > last or size >= 2 * IDS_PER_CHUNK or (following and ids[at] >= following)
  add_members(chunk, members)
  return at
end

-- Add the ids of the newest tasks. A new chunk begins after so many submissions, wherever the ids of a call end.
local function add_ids(ids)
  local first = clock.seq - #ids
  local chunk = clock.chunk or redis.call('ZREVRANGE', prefix .. 'ids', 0, 0)[1]
  local members, late, at = {}, 0, 1
  table.sort(ids)
  while chunk and ids[late + 1] and ids[late + 1] < chunk do
    late = late + 1
  end
  while at <= late do
    at = add_late_ids(ids, at, late)
  end
  for place = late + 1, #ids do
    if not chunk or (first + place) % IDS_PER_CHUNK == 0 then
      add_members(chunk, members)
      chunk, members = begin_chunk(ids[place], chunk), {}
    end
    members[#members + 1] = 0
    members[#members + 1] = ids[place]
  end
  add_members(chunk, members)
  if chunk ~= clock.chunk then
    redis.call('HSET', clock_key, 'chunk', chunk)
  end
end

local function forget_ids(ids)
  for _, id in ipairs(ids) do
    local chunk = chunk_of(id)
    if chunk and redis.call('ZREM', chunk_key(chunk), id) == 1 and redis.call('EXISTS', chunk_key(chunk)) == 0 then
      redis.call('ZREM', prefix .. 'ids', chunk)
      if chunk == clock.chunk then
        redis.call('HDEL', clock_key, 'chunk')
      end
    end
  end
end
