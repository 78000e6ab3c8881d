-- node_read: return the records of nodes.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] node ids
--
-- Returns  {now, {field value, …} | nil, …} in the order asked
-- Cost     O(nodes asked for)
-- #include "clock"
-- #include "constants"
-- #include "tables"
local answers = {now}
for at = 2, #ARGV do
  local values = redis.call('HMGET', prefix .. 'node:' .. ARGV[at], unpack(NODE_FIELDS))
  answers[at] = values[1] and values
end
return answers
