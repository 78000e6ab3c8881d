-- memory_resign: give up being the master of a prefix.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  prefix
-- ARGV[3]  epoch
--
-- Returns  'ok' | 'other'
-- Cost     O(1)
-- #include "clock"
local key = prefix .. 'mlead:' .. ARGV[2]
if redis.call('HGET', key, 'epoch') ~= ARGV[3] then
  return 'other'
end
redis.call('DEL', key)
return 'ok'
