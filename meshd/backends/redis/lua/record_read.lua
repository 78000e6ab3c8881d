-- record_read: return one record.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
--
-- Returns  {'ok', revision, value} | {'missing'}
-- Cost     O(1)
-- #include "records"
local values = redis.call('HMGET', record_key(ARGV[2]), 'r', 'v', 'x')
if is_live(values) then
  return {'ok', values[1], values[2]}
end
return {'missing'}
