-- memory_lead: become or stay the master of a prefix, or learn who is.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  prefix
-- ARGV[3]  who wants to be the master
-- ARGV[4]  life of the lease, ms
--
-- Returns  {holder, epoch, end of the lease}
-- Cost     O(1)
-- #include "memory"
read_store('')
local key, life = prefix .. 'mlead:' .. ARGV[2], tonumber(ARGV[4])
local holder, epoch, ends = unpack(call('HMGET', key, 'holder', 'epoch', 'ends'))
if holder and holder ~= ARGV[3] and tonumber(ends) > now then
  return {holder, epoch, ends}
end
if holder ~= ARGV[3] then
  epoch = whole(next_token(0))
  save_clock()
end
ends = whole(now + life)
call('HSET', key, 'holder', ARGV[3], 'epoch', epoch, 'ends', ends)
call('PEXPIRE', key, whole(life + SLACK_MS))
return {ARGV[3], epoch, ends}
