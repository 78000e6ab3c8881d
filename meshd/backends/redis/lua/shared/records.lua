-- records: documents with a revision; an expired one counts as absent from its last millisecond on.
-- #include "clock"
-- #include "constants"
local index_key, expiry_key = prefix .. 'recs', prefix .. 'recx'

local function record_key(key)
  return prefix .. 'rec:' .. key
end

local function is_live(values)
  return values[1] and (not values[3] or values[3] == '' or tonumber(values[3]) > now)
end

local function remove(key)
  redis.call('DEL', record_key(key))
  redis.call('ZREM', index_key, key)
  redis.call('ZREM', expiry_key, key)
end
