-- record_delete: remove one record if it has the expected revision.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
-- ARGV[3]  revision expected ('' = any)
--
-- Returns  {'ok'} | {'missing'} | {'mismatch', current revision}
-- Cost     O(log records)
-- #include "records"
local values = redis.call('HMGET', record_key(ARGV[2]), 'r', 'v', 'x')
if not is_live(values) then
  remove(ARGV[2])
  return {'missing'}
elseif ARGV[3] ~= '' and values[1] ~= ARGV[3] then
  return {'mismatch', values[1]}
end
remove(ARGV[2])
redis.call('HINCRBY', clock_key, 'revision', 1)
redis.call('HSET', clock_key, 'now', now)
return {'ok'}
