-- record_write: write one record if the condition holds, and remove a few expired ones.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
-- ARGV[3]  value
-- ARGV[4]  life, ms ('' = for ever)
-- ARGV[5]  'put' | 'create' | 'update'
-- ARGV[6]  revision an update expects
--
-- Returns  {'ok', revision} | {'exists'} | {'missing'} | {'mismatch', current revision}
-- Cost     O(log records)
-- #include "records"
local key, life, mode = ARGV[2], tonumber(ARGV[4]), ARGV[5]
local values = redis.call('HMGET', record_key(key), 'r', 'v', 'x')
local expired = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, 10)
if mode == 'create' and is_live(values) then
  return {'exists'}
elseif mode == 'update' and not is_live(values) then
  return {'missing'}
elseif mode == 'update' and values[1] ~= ARGV[6] then
  return {'mismatch', values[1]}
end
for _, old in ipairs(expired) do
  remove(old)
end
local revision = redis.call('HINCRBY', clock_key, 'revision', 1)
redis.call('HSET', clock_key, 'now', now)
redis.call('HSET', record_key(key), 'r', revision, 'v', ARGV[3], 'x', life and now + life or '')
redis.call('ZADD', index_key, 0, key)
if life then
  redis.call('PEXPIRE', record_key(key), life + SLACK_MS)
  redis.call('ZADD', expiry_key, now + life, key)
else
  redis.call('PERSIST', record_key(key))
  redis.call('ZREM', expiry_key, key)
end
return {'ok', revision}
