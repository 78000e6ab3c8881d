-- records: documents with a revision; an expired one counts as absent from its last millisecond on.
-- #include "clock"
-- #include "constants"
local index_key, expiry_key = prefix .. 'recs', prefix .. 'recx'

local function record_key(key)
  return prefix .. 'rec:' .. key
end

-- r = revision, v = value, x = end ('' = none), b = revision and bm = time of the write that began this life.
local function read_record(key)
  local kept = redis.call('HMGET', record_key(key), 'r', 'v', 'x', 'b', 'bm')
  if not kept[1] or (kept[3] and kept[3] ~= '' and tonumber(kept[3]) <= now) then
    return nil
  end
  return {revision = kept[1], value = kept[2], born = kept[4] or kept[1], born_ms = kept[5] or '0', expires = kept[3] or ''}
end

-- Returns nil while the record `key` lives its life `born` (or `key` is ''), else what to answer.
local function superseded(key, born)
  if key == '' then
    return nil
  end
  local record = read_record(key)
  if record and record.born == born then
    return nil
  end
  return {'fenced', record and record.born or '0'}
end

-- The next revision: above every one before, also if the store lost its newest writes.
local function next_revision()
  local kept = tonumber(redis.call('HGET', clock_key, 'revision') or 0)
  local revision = whole(math.max(kept + 1, clock.us))
  redis.call('HSET', clock_key, 'revision', revision, 'now', whole(now))
  return revision
end

local function remove(key)
  redis.call('DEL', record_key(key))
  redis.call('ZREM', index_key, key)
  redis.call('ZREM', expiry_key, key)
end
