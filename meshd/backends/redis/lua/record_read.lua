-- record_read: return one record.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
--
-- Returns  {'ok', now, revision, value, revision and time it was born with, end ('' = never)} | {'missing'}
-- Cost     O(1)
-- #include "records"
local record = read_record(ARGV[2])
if record then
  return {'ok', whole(now), record.revision, record.value, record.born, record.born_ms, record.expires}
end
return {'missing'}
