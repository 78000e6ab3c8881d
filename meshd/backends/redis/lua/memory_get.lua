-- memory_get: return items by key.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2…]  keys
--
-- Returns  {item or nil, …}
-- Cost     O(keys)
local prefix = string.sub(KEYS[1], 1, -6)
local names = {}
for at = 2, #ARGV do
  names[at - 1] = prefix .. 'm:' .. ARGV[at]
end
return redis.call('MGET', unpack(names))
