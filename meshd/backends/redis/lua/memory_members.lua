-- memory_members: return the members that are not silent for too long.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  life of a silent member, ms
--
-- Returns  {node, revision, when it was seen, what it said of itself, …}
-- Cost     O(members)
-- #include "memory"
read_store('')
local since = '(' .. whole(now - tonumber(ARGV[2]))
local seen, answers = call('ZRANGEBYSCORE', prefix .. 'mseen', since, '+inf', 'WITHSCORES'), {}
for at = 1, #seen, 2 do
  local node, size = seen[at], #answers
  answers[size + 1], answers[size + 2] = node, call('ZSCORE', prefix .. 'mmem', node)
  answers[size + 3], answers[size + 4] = seen[at + 1], call('HGET', prefix .. 'mstate', node)
end
return answers
