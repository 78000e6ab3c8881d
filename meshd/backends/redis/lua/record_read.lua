-- record_read: return one record.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  key of the record
--
-- Returns  {'ok', now, head and value} | {'missing'}
-- Cost     O(1)
-- #include "records"
local kept = fetch(ARGV[2], '-1')
if head_of(kept) then
  return {'ok', whole(now), kept}
end
return {'missing'}
