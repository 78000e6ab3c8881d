-- node_join: make a node visible under a new incarnation.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  profile, JSON
-- ARGV[4]  what it holds: lines of capability, tab, holder
-- ARGV[5]  how long an untouched record is kept, ms
-- ARGV[6]  status
-- ARGV[7…] further fields and values
--
-- Returns  {'ok', incarnation}
-- Cost     O(capabilities)
-- #include "nodes"
local id, ttl, status = ARGV[2], tonumber(ARGV[5]), ARGV[6]
local held_before = redis.call('HGET', node_key(id), 'holdings')
local before = tonumber(redis.call('HGET', node_key(id), 'inc') or 0)
local incarnation = whole(next_token(before))
drop_holdings(held_before)
redis.call('DEL', node_key(id))
redis.call('HSET', node_key(id), 'id', id, 'inc', incarnation, 'profile', ARGV[3], 'holdings', ARGV[4], 'status', status,
  'joined', now, 'beat', now, 'fresh', now, unpack(ARGV, 7))
redis.call('PEXPIRE', node_key(id), ttl)
add_holdings(ARGV[4], ttl)
redis.call('ZADD', beats_key, now, id)
redis.call('PEXPIRE', beats_key, ttl)
redis.call('ZREM', dead_key, id)
redis.call('HSETNX', clock_key, 'node_tick', now)
save_clock()
note('joined', id, incarnation, status)
return {'ok', incarnation}
