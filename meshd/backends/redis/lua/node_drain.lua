-- node_drain: ask a node to finish what it holds and claim no more, or withdraw that.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  '1' to ask, '0' to withdraw
--
-- Returns  'ok' | 'missing'
-- Cost     O(1)
-- #include "nodes"
local id, wanted = ARGV[2], ARGV[3]
local record = redis.call('HMGET', node_key(id), 'inc', 'died', 'drain')
if not record[1] or record[2] then
  return 'missing'
end
if (record[3] == '1') ~= (wanted == '1') then
  redis.call('HSET', node_key(id), 'drain', wanted)
  note(wanted == '1' and 'drain' or 'resume', id, record[1])
end
return 'ok'
