-- memory_list: return items of a range of keys, in the order of their keys' bytes.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  'all' | 'contested'
-- ARGV[3]  begin of the range, as ZRANGEBYLEX takes it
-- ARGV[4]  end of the range, as ZRANGEBYLEX takes it
-- ARGV[5]  most keys to look at
-- ARGV[6]  most bytes of items
--
-- Returns  {now, last key looked at ('' = end of the range), key, item, …}
-- Cost     O(log items + keys looked at)
-- #include "memory_read"
local index, limit = ARGV[2] == 'all' and keys_key or contested_key, tonumber(ARGV[5])
local keys = call('ZRANGEBYLEX', index, ARGV[3], ARGV[4], 'LIMIT', 0, limit)
read_store('')
local answers = {whole(now), ''}
local seen = read_items(keys, tonumber(ARGV[6]), function(key, item)
  local size = #answers
  answers[size + 1], answers[size + 2] = key, item
end)
if seen < #keys or #keys == limit then
  answers[2] = keys[seen]
end
return answers
