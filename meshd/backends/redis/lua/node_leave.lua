-- node_leave: remove a node's record and index entries.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  incarnation
--
-- Returns  'ok' | 'missing' when nothing of that incarnation is there
-- Cost     O(capabilities)
-- #include "nodes"
local id, incarnation = ARGV[2], ARGV[3]
local record = redis.call('HMGET', node_key(id), 'inc', 'holdings')
if record[1] ~= incarnation then
  return 'missing'
end
drop_holdings(record[2])
redis.call('DEL', node_key(id))
redis.call('ZREM', beats_key, id)
redis.call('ZREM', dead_key, id)
note('left', id, incarnation)
return 'ok'
