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
-- ARGV[9]  begin of the range of keys a create needs room among, as ZLEXCOUNT takes it (none = it needs no room)
-- ARGV[10]  end of that range
-- ARGV[11]  keys there is room for
--
-- Returns  {'ok', revision} | {'exists'} | {'missing'} | {'mismatch', current revision}
--          | {'fenced', life of the guard now ('0' = none)} | {'full'}
--          | {'again'}, when it may be only expired ones that take the room, more than one step removes
-- Cost     O(log records)
-- #include "records"
local key, life, mode = ARGV[2], tonumber(ARGV[4]), ARGV[5]
local fenced, record = superseded(ARGV[7], ARGV[8]), read_head(key)
if fenced then
  return fenced
elseif mode == 'create' and record then
  return {'exists'}
elseif mode == 'update' and not record then
  return {'missing'}
elseif mode == 'update' and record.revision ~= tonumber(ARGV[6]) then
  return {'mismatch', whole(record.revision)}
end
local most_ended = ARGV[9] and '100' or '10'
local ended = redis.call('ZRANGEBYSCORE', expiry_key, '-inf', whole(now), 'LIMIT', '0', most_ended)
for _, old in ipairs(ended) do
  local head = read_head(old)
  if not head then
    remove(old)
  elseif head.expires > 0 then
    redis.call('ZADD', expiry_key, whole(head.expires), old)
  else
    redis.call('ZREM', expiry_key, old)
  end
end
if ARGV[9] and redis.call('ZLEXCOUNT', index_key, ARGV[9], ARGV[10]) >= tonumber(ARGV[11]) then
  return {#ended == tonumber(most_ended) and 'again' or 'full'}
end
local revision, expires = next_revision(), life and now + life or 0
local born, born_ms = record and record.born or revision, record and record.born_ms or now
local kept = struct.pack(RECORD_HEAD, revision, born, born_ms, expires) .. ARGV[3]
if not life then
  redis.call('SET', record_key(key), kept)
else
  redis.call('SET', record_key(key), kept, 'PX', whole(math.max(life, 0) + SLACK_MS))
  -- A record with an end has a look at it noted in `recx`, at its end or before: most renewals change nothing there.
  if not record or record.expires == 0 or expires < record.expires then
    redis.call('ZADD', expiry_key, whole(expires), key)
  end
end
if not record then
  redis.call('ZADD', index_key, '0', key)
end
return {'ok', whole(revision)}
