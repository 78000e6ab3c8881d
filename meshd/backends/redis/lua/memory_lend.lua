-- memory_lend: lend an actor whose lease ended or that was given back, or a new one.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  life of the lease, ms
--
-- Returns  {actor, seq, token, end of the lease}
-- Cost     O(log actors)
-- #include "memory_leases"
read_store('')
local actor
for _, free in ipairs(call('ZRANGEBYSCORE', ends_key, '-inf', whole(now), 'LIMIT', 0, 10)) do
  if is_of_family(free) then
    actor = free
    break
  end
  call('ZREM', ends_key, free)
  call('HDEL', tokens_key, free)
end
actor = actor or family() .. whole(call('HINCRBY', store_key, 'actors', 1))
local token, ends = whole(next_token(0)), whole(now + tonumber(ARGV[2]))
call('ZADD', ends_key, ends, actor)
call('HSET', tokens_key, actor, token)
save_clock()
return {actor, seq_of(actor), token, ends}
