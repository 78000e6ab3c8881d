-- node_heartbeat: record a node's vitals and renew its place among the living.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  incarnation
-- ARGV[4]  node timeout, ms
-- ARGV[5]  how long an untouched record is kept, ms
-- ARGV[6]  pause since the last beat or sweep from which silence proves nothing, ms
-- ARGV[7]  status
-- ARGV[8…] further fields and values
--
-- Returns  {'ok', live nodes, silent nodes, 'drain' | 'stay'} | {'fenced', current incarnation} | {'missing'}
-- Cost     O(log nodes), O(capabilities) a few times a day
-- #include "nodes"
local id, incarnation, timeout, ttl, status = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[7]
local record = redis.call('HMGET', node_key(id), 'inc', 'died', 'status', 'drain', 'fresh')
local refused = refusal(record, incarnation)
if refused then
  return refused
end
local grace = grace_after(tonumber(ARGV[6]), timeout)
redis.call('HSET', node_key(id), 'beat', now, 'status', status, unpack(ARGV, 8))
redis.call('ZADD', beats_key, now, id)
if now - tonumber(record[5] or 0) > ttl / 4 then
  redis.call('HSET', node_key(id), 'fresh', now)
  redis.call('PEXPIRE', node_key(id), ttl)
  redis.call('PEXPIRE', beats_key, ttl)
  add_holdings(redis.call('HGET', node_key(id), 'holdings'), ttl)
end
save_tick(grace)
if record[3] ~= status then
  note('status', id, incarnation, status)
end
local live = redis.call('ZCOUNT', beats_key, now - timeout, '+inf')
return {'ok', live, redis.call('ZCARD', beats_key) - live, record[4] == '1' and 'drain' or 'stay'}
