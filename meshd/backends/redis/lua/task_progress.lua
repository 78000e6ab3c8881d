-- task_progress: record how far a running task is.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  task id
-- ARGV[3]  token
-- ARGV[4]  fraction ('' = unknown)
-- ARGV[5]  note
--
-- Returns  'ok' | 'fenced' | 'wrong_state' | 'missing'
-- Cost     O(1)
-- #include "tasks"
local record = load(ARGV[2], {'s', 'k'})
if not record then
  return 'missing'
elseif token_of(record) ~= ARGV[3] then
  return 'fenced'
elseif record.s ~= 'running' then
  return 'wrong_state'
end
set(record, 'pr', ARGV[4])
set(record, 'no', ARGV[5])
flush()
return 'ok'
