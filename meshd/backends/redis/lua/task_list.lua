-- task_list: return a page of tasks, newest id first.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  id the page before ended with ('' = begin)
-- ARGV[3]  most tasks to return
-- ARGV[4]  most ids to look at
-- ARGV[5]  task type ('' = all)
-- ARGV[6]  node id ('' = all)
-- ARGV[7]  states, each between commas ('' = all)
-- ARGV[8]  most bytes of field values
--
-- Returns  {'ok', lease shift, id to go on from ('' = end), id, {field, value, …}, …}
-- Cost     O(ids looked at)
-- #include "clock"
local limit, most_ids, task_type, node, states = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local from = ARGV[2] == '' and '+' or ('(' .. ARGV[2])
local ids = {}
for _, chunk in ipairs(redis.call('ZREVRANGEBYLEX', prefix .. 'ids', from, '-', 'LIMIT', 0, most_ids)) do
  if #ids >= most_ids then
    break
  end
  local wanted = most_ids - #ids
  for _, id in ipairs(redis.call('ZREVRANGEBYLEX', prefix .. 'ids:' .. chunk, from, '-', 'LIMIT', 0, wanted)) do
    ids[#ids + 1] = id
  end
end
local answers = {'ok', clock.shift, ''}
local found, bytes = 0, 0

-- The type is the first word of the route, and the route is the queue without its priority.
local function type_in(queue)
  return string.match(string.match(queue, '^(.*):[^:]*$'), '^[^+]+')
end

local function matches(values)
  return (states == '' or string.find(states, ',' .. values[1] .. ',', 1, true))
    and (node == '' or values[2] == node)
    and (task_type == '' or values[4] == task_type or (not values[4] and type_in(values[3]) == task_type))
end

local function add(id)
  local values = redis.call('HGETALL', prefix .. 't:' .. id)
  answers[#answers + 1] = id
  answers[#answers + 1] = values
  found = found + 1
  for at = 2, #values, 2 do
    bytes = bytes + #values[at]
  end
end

for at, id in ipairs(ids) do
  local values = redis.call('HMGET', prefix .. 't:' .. id, 's', 'n', 'q', 'ty')
  if values[1] and matches(values) then
    add(id)
  end
  if (found >= limit or bytes >= tonumber(ARGV[8])) and at < #ids or (at == #ids and #ids == most_ids) then
    answers[3] = id
    break
  end
end
return answers
