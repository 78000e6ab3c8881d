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
-- ARGV[8]  heartbeat interval, ms: no mean counts as shorter
-- ARGV[9]  smallest standard deviation, ms
-- ARGV[10]  acceptable pause, ms
-- ARGV[11]  longest bound, ms
-- ARGV[12…] further fields and values
--
-- Returns  {'ok', live nodes, silent nodes, 'drain' | 'stay', {id, …} that missed beats} | {'fenced', incarnation}
--          | {'missing'}
-- Cost     O(log nodes), O(capabilities) a few times a day; + O(100) while nodes are silent
-- #include "nodes"
local id, incarnation, timeout, ttl, status = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[7]
local heartbeat, pause, most = tonumber(ARGV[8]), tonumber(ARGV[10]), tonumber(ARGV[11])
local record = redis.call('HMGET', node_key(id), 'inc', 'died', 'status', 'drain', 'fresh', 'beat', 'bound', 'mean',
  'variance', 'mark')
local refused = refusal(record, incarnation)
if refused then
  return refused
end
local grace = grace_after(tonumber(ARGV[6]), timeout)

local interval, mean, variance = now - tonumber(record[6]), tonumber(record[8] or heartbeat), tonumber(record[9] or 0)
if interval >= heartbeat / 2 and now <= tonumber(record[7] or now) and now > grace then
  local distance = interval - mean
  mean = mean + PACE_WEIGHT * distance
  variance = (1 - PACE_WEIGHT) * (variance + PACE_WEIGHT * distance * distance)
end
local usual = math.max(heartbeat, mean) + pause
local deviation = math.max(tonumber(ARGV[9]), math.sqrt(variance))
local longest = usual + Z_BOUND * deviation
local scale = math.min(1, most / longest)
local doubt = whole(now + (usual + Z_DOUBT * deviation) * scale + 0.5)

local at = whole(now)
redis.call('HSET', node_key(id), 'beat', at, 'doubt', doubt, 'bound',
  whole(now + longest * scale + 0.5), 'mean', string.format('%.3f', mean), 'variance', string.format('%.1f', variance),
  unpack(ARGV, 12))
redis.call('ZADD', beats_key, doubt, id)
if record[10] then
  redis.call('HSET', node_key(id), 'flaps', with_flap(redis.call('HGET', node_key(id), 'flaps')))
  redis.call('HDEL', node_key(id), 'mark')
  note('recovered', id, incarnation)
end
if now - tonumber(record[5] or 0) > ttl / 4 then
  redis.call('HSET', node_key(id), 'fresh', at)
  redis.call('PEXPIRE', node_key(id), ttl)
  redis.call('PEXPIRE', beats_key, ttl)
  add_holdings(redis.call('HGET', node_key(id), 'holdings'), ttl)
end
save_tick(grace)
if record[3] ~= status then
  redis.call('HSET', node_key(id), 'status', status)
  note('status', id, incarnation, status)
end
local nodes = redis.call('ZCARD', beats_key)
local live = nodes
local missed, soon = {}, '(' .. whole(now + pause)
if redis.call('ZCOUNT', beats_key, '-inf', soon) > 0 then
  missed = redis.call('ZRANGEBYSCORE', beats_key, '-inf', soon, 'LIMIT', 0, MAX_SUSPECTS)
  live = redis.call('ZCOUNT', beats_key, at, '+inf')
end
return {'ok', live, nodes - live, record[4] == '1' and 'drain' or 'stay', missed}
