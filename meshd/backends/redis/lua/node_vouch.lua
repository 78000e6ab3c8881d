-- node_vouch: say that a node reaches others: for the length of a timeout no sweep judges those dead.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id of the caller
-- ARGV[3]  its incarnation
-- ARGV[4]  node timeout, ms
-- ARGV[5]  how long an untouched record is kept, ms
-- ARGV[6]  acceptable pause, ms: so long before a vouch ends it is asked for again
-- ARGV[7…] ids of the nodes it reaches
--
-- Returns  {'ok'} | {'fenced', current incarnation} | {'missing'}
-- Cost     O(ids · log nodes)
-- #include "nodes"
local by, timeout, ttl, pause = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local refused = refusal(redis.call('HMGET', node_key(by), 'inc', 'died'), ARGV[3])
if refused then
  return refused
end
local records = {}
for at = 7, #ARGV do
  records[at] = redis.call('HMGET', node_key(ARGV[at]), 'inc', 'died', 'doubt', 'mark')
end
for at = 7, #ARGV do
  local id, incarnation, died, doubt, mark = ARGV[at], unpack(records[at], 1, 4)
  if id ~= by and incarnation and not died then
    redis.call('HSET', node_key(id), 'vouched', whole(now), 'vouched_by', by)
    redis.call('PEXPIRE', node_key(id), ttl)
    redis.call('PEXPIRE', beats_key, ttl)
    if now > tonumber(doubt or 0) - pause then
      redis.call('ZADD', beats_key, 'XX', 'GT', whole(now + timeout), id)
    end
    if now > tonumber(doubt or 0) and mark ~= 'partitioned' then
      redis.call('HSET', node_key(id), 'mark', 'partitioned')
      note('partitioned', id, incarnation, nil, by)
    end
  end
end
return {'ok'}
