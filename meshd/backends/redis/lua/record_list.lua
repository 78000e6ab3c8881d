-- record_list: return live records of a range of keys in order, and remove the expired ones met.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  begin of the range, as ZRANGEBYLEX takes it
-- ARGV[3]  end of the range, as ZRANGEBYLEX takes it
-- ARGV[4]  most keys to look at
-- ARGV[5]  most bytes of values
--
-- Returns  {last key looked at ('' = end of the range), now, then per record: key, revision, value, revision and time
--          it was born with, end ('' = never)}
-- Cost     O(keys looked at)
-- #include "records"
local most_keys, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local keys = redis.call('ZRANGEBYLEX', index_key, ARGV[2], ARGV[3], 'LIMIT', 0, most_keys)
local answers, gone, bytes = {#keys == most_keys and keys[#keys] or '', whole(now)}, {}, 0
for at, key in ipairs(keys) do
  local record = read_record(key)
  if record then
    for _, each in ipairs({key, record.revision, record.value, record.born, record.born_ms, record.expires}) do
      answers[#answers + 1] = each
    end
    bytes = bytes + #record.value
  else
    gone[#gone + 1] = key
  end
  if bytes >= most_bytes and at < #keys then
    answers[1] = key
    break
  end
end
for _, key in ipairs(gone) do
  remove(key)
end
return answers
