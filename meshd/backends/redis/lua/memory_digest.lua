-- memory_digest: apply expiry, and return the digest once nothing is left to apply.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  bytes of all sums, to return their SHA-1 alone; '' = the sums
--
-- Returns  {'ok', now, sums, big-endian, those at the end left out if they are 0, or their SHA-1} | {'more'}
-- Cost     O(100 × log items)
-- #include "memory_expire"
local store = read_store('')
if expire(store) then
  return {'more'}
end
local sums = call('GET', prefix .. 'mdg') or ''
if ARGV[2] ~= '' then
  sums = redis.sha1hex(sums .. string.rep('\0', tonumber(ARGV[2]) - #sums))
end
return {'ok', whole(now), sums}
