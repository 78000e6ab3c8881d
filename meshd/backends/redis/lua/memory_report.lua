-- memory_report: note how far a member is.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  node
-- ARGV[3]  actor
-- ARGV[4]  revision it has reached
-- ARGV[5]  what it says of itself, MessagePack
-- ARGV[6]  life of a silent member, ms
--
-- Returns  {'known' | 'new': it was never here as this actor, or was evicted, then what memory_clock returns}
-- Cost     O(log members + actors + nodes in quarantine)
-- #include "memory"
local members_key, seen_key, states_key = prefix .. 'mmem', prefix .. 'mseen', prefix .. 'mstate'
local node, life = ARGV[2], tonumber(ARGV[6])
read_store('')
local seen, state = call('ZSCORE', seen_key, node), call('HGET', states_key, node)
local is_known = seen and state and tonumber(seen) > now - life and cmsgpack.unpack(state)[1] == ARGV[3]
call('ZADD', members_key, ARGV[4], node)
call('ZADD', seen_key, whole(now), node)
call('HSET', states_key, node, ARGV[5])
for _, key in ipairs({members_key, seen_key, states_key}) do
  call('PEXPIRE', key, whole(life + SLACK_MS))
end
return {
  is_known and 'known' or 'new', generation(), whole(now), call('HGETALL', store_key), call('HGETALL', prefix .. 'mq'),
}
