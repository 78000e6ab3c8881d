-- task_get: return tasks as they are now.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] task ids
--
-- Returns  {'ok', lease shift, {field value, …} | nil, …} in the order asked
-- Cost     O(tasks)
-- #include "clock"
-- #include "constants"
local answers = {'ok', clock.shift}
for at = 2, #ARGV do
  local values = redis.call('HMGET', prefix .. 't:' .. ARGV[at], unpack(TASK_FIELDS))
  answers[at + 1] = values[1] and values
end
return answers
