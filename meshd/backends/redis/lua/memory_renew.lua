-- memory_renew: prolong the lease of an actor, or end it.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  actor
-- ARGV[3]  token of the lease
-- ARGV[4]  life of the lease, ms ('' = give the actor back)
--
-- Returns  {'ok', seq, end of the lease} | {'fenced', token that is valid or 0}
-- Cost     O(log actors)
-- #include "memory_leases"
read_store('')
local actor = ARGV[2]
local token = call('HGET', tokens_key, actor)
if token ~= ARGV[3] or not is_of_family(actor) then
  return {'fenced', token or '0'}
end
local ends = '0'
if ARGV[4] == '' then
  call('HDEL', tokens_key, actor)
else
  ends = whole(now + tonumber(ARGV[4]))
end
call('ZADD', ends_key, ends, actor)
return {'ok', seq_of(actor), ends}
