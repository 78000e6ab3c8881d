-- record_list: return live records of a range of keys in order, and remove the expired ones met.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and revisions; the keys of the records have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  begin of the range, as ZRANGEBYLEX takes it
-- ARGV[3]  end of the range, as ZRANGEBYLEX takes it
-- ARGV[4]  most keys to look at
-- ARGV[5]  most bytes of values
--
-- Returns  {last key looked at ('' = end of the range), now, then per record: key, head and value}
-- Cost     O(keys looked at)
-- #include "records"
local PER_READ = 16
local most_keys, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local keys = redis.call('ZRANGEBYLEX', index_key, ARGV[2], ARGV[3], 'LIMIT', '0', ARGV[4])
local answers, names, gone, bytes, some = {#keys == most_keys and keys[#keys] or '', whole(now)}, {}, {}, 0, nil
for at, key in ipairs(keys) do
  names[at] = record_key(key)
end
for at, key in ipairs(keys) do
  local place = (at - 1) % PER_READ + 1
  if place == 1 then
    some = redis.call('MGET', unpack(names, at, math.min(at + PER_READ - 1, #keys)))
  end
  local kept = some[place] or fetch(key, '-1')
  if head_of(kept) then
    answers[#answers + 1] = key
    answers[#answers + 1] = kept
    bytes = bytes + #kept
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
