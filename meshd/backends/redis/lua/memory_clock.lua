-- memory_clock: say where the store stands.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
--
-- Returns  {generation, now, {field of the store's hash, value, …}, {node in quarantine, why, …}}
-- Cost     O(actors + nodes in quarantine)
-- #include "memory"
read_store('')
return {generation(), whole(now), call('HGETALL', store_key), call('HGETALL', prefix .. 'mq')}
