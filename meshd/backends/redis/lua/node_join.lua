-- node_join: make a node visible under a new incarnation.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  profile, JSON
-- ARGV[4]  what it holds: lines of capability, tab, holder
-- ARGV[5]  how long an untouched record is kept, ms
-- ARGV[6]  status
-- ARGV[7]  silence after which it is doubted, ms
-- ARGV[8]  silence after which it is dead, ms
-- ARGV[9…] further fields and values
--
-- Returns  {'ok', incarnation}
-- Cost     O(capabilities)
-- #include "nodes"
local id, ttl, status = ARGV[2], tonumber(ARGV[5]), ARGV[6]
local before = redis.call('HMGET', node_key(id), 'holdings', 'inc', 'died', 'mark', 'flaps')
local incarnation = whole(next_token(tonumber(before[2] or 0)))
local came_back = before[3] or before[4]
local flaps = came_back and with_flap(before[5]) or before[5] or ''
local doubt = whole(now + tonumber(ARGV[7]))
drop_holdings(before[1])
redis.call('DEL', node_key(id))
redis.call('HSET', node_key(id), 'id', id, 'inc', incarnation, 'profile', ARGV[3], 'holdings', ARGV[4], 'status', status,
  'joined', now, 'beat', now, 'fresh', now, 'doubt', doubt, 'bound', whole(now + tonumber(ARGV[8])), 'flaps', flaps,
  unpack(ARGV, 9))
redis.call('PEXPIRE', node_key(id), ttl)
add_holdings(ARGV[4], ttl)
redis.call('ZADD', beats_key, doubt, id)
redis.call('PEXPIRE', beats_key, ttl)
redis.call('ZREM', dead_key, id)
redis.call('HSETNX', clock_key, 'node_tick', now)
save_clock()
note('joined', id, incarnation, status)
return {'ok', incarnation}
