-- memory_quarantine: refuse versions of a node from now on, or take them again.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  node
-- ARGV[3]  'refuse' | 'take'
-- ARGV[4]  why
--
-- Returns  'new' | 'changed': it was in quarantine already | 'free': it was not
-- Cost     O(1)
-- #include "memory"
local key, node = prefix .. 'mq', ARGV[2]
local changed
if ARGV[3] == 'refuse' then
  changed = call('HSET', key, node, ARGV[4]) == 0
else
  changed = call('HDEL', key, node) == 1
end
call('HSET', store_key, 'quarantined', call('HLEN', key))
return changed and 'changed' or ARGV[3] == 'refuse' and 'new' or 'free'
