-- task_watch: have a topic told when tasks end, and return them as they are now.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  topic
-- ARGV[3…] task ids
--
-- Returns  {'ok', lease shift, {field, value, …} | nil, …} in the order asked
-- Cost     O(tasks · watchers)
-- #include "tasks"
local topic = ARGV[2]
for at = 3, #ARGV do
  local record = load(ARGV[at], {'s', 'w'})
  local is_told = record and string.find('\n' .. record.w .. '\n', '\n' .. topic .. '\n', 1, true)
  if record and not TERMINAL[record.s] and not is_told then
    set(record, 'w', record.w == '' and topic or (record.w .. '\n' .. topic))
  end
end
flush()
local answers = {'ok', clock.shift}
for at = 3, #ARGV do
  answers[at] = records[ARGV[at]] and redis.call('HGETALL', task_key(ARGV[at]))
end
return answers
