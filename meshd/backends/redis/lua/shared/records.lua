-- records: documents with a revision; an expired one counts as absent from its last millisecond on. Each is one string:
-- a head (`record_codec.py`) and its value.
-- #include "clock"
-- #include "constants"
local index_key, expiry_key = prefix .. 'recs', prefix .. 'recx'

local function record_key(key)
  return prefix .. 'rec:' .. key
end

-- Older versions kept a hash: r = revision, v = value, x = end ('' = none), b = revision and bm = time of birth.
local function converted(key)
  local kept = redis.call('HMGET', record_key(key), 'r', 'v', 'x', 'b', 'bm')
  return struct.pack(RECORD_HEAD, kept[1], kept[4] or kept[1], kept[5] or 0, tonumber(kept[3] or '') or 0) .. kept[2]
end

-- Returns what is kept under `key` up to the byte `last`, '' if nothing is.
local function fetch(key, last)
  local kept = redis.pcall('GETRANGE', record_key(key), '0', last)
  return type(kept) == 'table' and converted(key) or kept
end

-- Returns nil when there is none or its time ran out.
local function head_of(kept)
  if kept == '' then
    return nil
  end
  local revision, born, born_ms, expires = struct.unpack(RECORD_HEAD, kept)
  if expires ~= 0 and expires <= now then
    return nil
  end
  return {revision = revision, born = born, born_ms = born_ms, expires = expires}
end

local function read_head(key)
  return head_of(fetch(key, RECORD_HEAD_END))
end

-- Returns nil while the record `key` lives its life `born` (or `key` is ''), else what to answer.
local function superseded(key, born)
  if key == '' then
    return nil
  end
  local record = read_head(key)
  if record and record.born == tonumber(born) then
    return nil
  end
  return {'fenced', whole(record and record.born or 0)}
end

-- The next revision: above every one before, also if the store lost its newest writes.
local function next_revision()
  local kept = tonumber(redis.call('HGET', clock_key, 'revision') or 0)
  local revision = math.max(kept + 1, clock.us)
  redis.call('HSET', clock_key, 'revision', whole(revision), 'now', whole(now))
  return revision
end

local function remove(key)
  redis.call('DEL', record_key(key))
  redis.call('ZREM', index_key, key)
  redis.call('ZREM', expiry_key, key)
end
