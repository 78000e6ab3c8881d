-- record_delete: remove one record if it has the expected revision and its guard holds.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
-- ARGV[3]  revision expected ('' = any)
-- ARGV[4]  key of the guard ('' = none)
-- ARGV[5]  life of the guard: the revision it was born with
--
-- Returns  {'ok'} | {'missing'} | {'mismatch', current revision} | {'fenced', life of the guard now ('0' = none)}
-- Cost     O(log records)
-- #include "records"
local key, expected = ARGV[2], ARGV[3]
local fenced, record = superseded(ARGV[4], ARGV[5]), read_head(key)
if fenced then
  return fenced
elseif not record then
  remove(key)
  return {'missing'}
elseif expected ~= '' and record.revision ~= tonumber(expected) then
  return {'mismatch', whole(record.revision)}
end
remove(key)
redis.call('HSET', clock_key, 'now', whole(now))
return {'ok'}
