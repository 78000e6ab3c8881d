-- record_list: return live records of a range of keys in order, and remove the expired ones met.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  begin of the range, as ZRANGEBYLEX takes it
-- ARGV[3]  end of the range, as ZRANGEBYLEX takes it
-- ARGV[4]  most keys to look at
-- ARGV[5]  most bytes of values
--
-- Returns  {last key looked at ('' = end of the range), key, revision, value, …}
-- Cost     O(keys looked at)
-- #include "records"
local most_keys, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local keys = redis.call('ZRANGEBYLEX', index_key, ARGV[2], ARGV[3], 'LIMIT', 0, most_keys)
local answers, gone, bytes = {#keys == most_keys and keys[#keys] or ''}, {}, 0
for at, key in ipairs(keys) do
  local values = redis.call('HMGET', record_key(key), 'r', 'v', 'x')
  if is_live(values) then
    local size = #answers
    answers[size + 1], answers[size + 2], answers[size + 3] = key, values[1], values[2]
    bytes = bytes + #values[2]
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
