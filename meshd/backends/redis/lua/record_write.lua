-- record_write: write one record if the conditions hold, and remove a few expired ones.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
-- ARGV[3]  value
-- ARGV[4]  life, ms ('' = for ever)
-- ARGV[5]  'put' | 'create' | 'update'
-- ARGV[6]  revision an update expects
-- ARGV[7]  key of the guard ('' = none)
-- ARGV[8]  life of the guard: the revision it was born with
--
-- Returns  {'ok', revision} | {'exists'} | {'missing'} | {'mismatch', current revision}
--          | {'fenced', life of the guard now ('0' = none)}
-- Cost     O(log records)
-- #include "records"
local key, life, mode = ARGV[2], tonumber(ARGV[4]), ARGV[5]
local fenced, record = superseded(ARGV[7], ARGV[8]), read_record(key)
local expired = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, 10)
if fenced then
  return fenced
elseif mode == 'create' and record then
  return {'exists'}
elseif mode == 'update' and not record then
  return {'missing'}
elseif mode == 'update' and record.revision ~= ARGV[6] then
  return {'mismatch', record.revision}
end
for _, old in ipairs(expired) do
  remove(old)
end
local revision = next_revision()
redis.call('HSET', record_key(key), 'r', revision, 'v', ARGV[3], 'x', life and whole(now + life) or '',
  'b', record and record.born or revision, 'bm', record and record.born_ms or whole(now))
if not record then
  redis.call('ZADD', index_key, 0, key)
end
if life then
  redis.call('PEXPIRE', record_key(key), life + SLACK_MS)
  redis.call('ZADD', expiry_key, whole(now + life), key)
else
  redis.call('PERSIST', record_key(key))
  redis.call('ZREM', expiry_key, key)
end
return {'ok', revision}
