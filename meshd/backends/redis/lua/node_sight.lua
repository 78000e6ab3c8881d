-- node_sight: replace what a node's probes of other nodes say.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  incarnation
-- ARGV[4]  sightings, JSON
--
-- Returns  {'ok'} | {'fenced', current incarnation} | {'missing'}
-- Cost     O(1)
-- #include "nodes"
local id = ARGV[2]
local refused = refusal(redis.call('HMGET', node_key(id), 'inc', 'died'), ARGV[3])
if refused then
  return refused
end
redis.call('HSET', node_key(id), 'sightings', ARGV[4], 'sighted', whole(now))
return {'ok'}
