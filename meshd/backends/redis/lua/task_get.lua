-- task_get: return tasks as they are now.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] task ids
--
-- Returns  {'ok', lease shift, {field, value, …}, empty if there is none, …} in the order asked
-- Cost     O(tasks)
-- #include "clock"
local answers = {'ok', clock.shift}
for at = 2, #ARGV do
  answers[at + 1] = redis.call('HGETALL', prefix .. 't:' .. ARGV[at])
end
return answers
