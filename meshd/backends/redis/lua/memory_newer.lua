-- memory_newer: return versions of a range of keys that a node clock does not cover.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  node clock, MessagePack: actor → seq
-- ARGV[3]  begin of the range, as ZRANGEBYLEX takes it
-- ARGV[4]  most keys to look at
-- ARGV[5]  most bytes of items to look at
--
-- Returns  {last key looked at ('' = end of the range), version, …}
-- Cost     O(log items + keys looked at)
-- #include "memory_read"
local clock_of, limit = cmsgpack.unpack(ARGV[2]), tonumber(ARGV[4])
local keys = call('ZRANGEBYLEX', keys_key, ARGV[3], '+', 'LIMIT', 0, limit)
local answers = {''}
local seen = read_items(keys, tonumber(ARGV[5]), function(_, item)
  local at, length = 1, #item
  while at <= length do
    local size = unpack_bytes('>I4', item, at)
    local _, actor, seq = unpack_fields(item, 2, fields_at(item, at))
    if (clock_of[actor] or 0) < seq then
      answers[#answers + 1] = sub(item, at + 4, at + 3 + size)
    end
    at = at + 4 + size
  end
end)
if seen < #keys or #keys == limit then
  answers[1] = keys[seen]
end
return answers
