-- node_list: return who is a member, and the records of the first that are found.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  'live' | 'dead': those judged dead, too
-- ARGV[3]  most records
--
-- Returns  {now, {node id, …}, {field value, …} | nil, …} in the order of the ids
-- Cost     O(members)
-- #include "clock"
-- #include "constants"
-- #include "tables"
local ids = redis.call('ZRANGE', prefix .. 'beats', 0, -1)
if ARGV[2] == 'dead' then
  local is_listed = {}
  for _, id in ipairs(ids) do
    is_listed[id] = true
  end
  for _, id in ipairs(redis.call('ZRANGE', prefix .. 'dead', 0, -1)) do
    if not is_listed[id] then
      ids[#ids + 1] = id
    end
  end
end
local answers = {now, ids}
for at = 1, math.min(#ids, tonumber(ARGV[3])) do
  local values = redis.call('HMGET', prefix .. 'node:' .. ids[at], unpack(NODE_FIELDS))
  answers[at + 2] = values[1] and values
end
return answers
