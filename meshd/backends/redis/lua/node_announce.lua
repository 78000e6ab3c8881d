-- node_announce: replace what a node declares.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  incarnation
-- ARGV[4]  profile, JSON
-- ARGV[5]  what it holds: lines of capability, tab, holder
-- ARGV[6]  how long an untouched record is kept, ms
-- ARGV[7…] further fields and values
--
-- Returns  {'ok'} | {'fenced', current incarnation} | {'missing'}
-- Cost     O(capabilities)
-- #include "nodes"
local id, incarnation = ARGV[2], ARGV[3]
local record = redis.call('HMGET', node_key(id), 'inc', 'died', 'holdings')
local refused = refusal(record, incarnation)
if refused then
  return refused
end
drop_holdings(record[3])
redis.call('HSET', node_key(id), 'profile', ARGV[4], 'holdings', ARGV[5], unpack(ARGV, 7))
add_holdings(ARGV[5], tonumber(ARGV[6]))
note('announced', id, incarnation)
return {'ok'}
