-- task_audit_counts: compare the counters with what an audit counted, if nothing has happened meanwhile.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  '1' to mend ('' = only look)
-- ARGV[3]  number of the last event when the audit began
-- ARGV[4…] state, tasks counted in it, …: the states that have a counter
--
-- Returns  {'ok', state, counter, tasks counted, 'repaired' | '', …}
-- Cost     O(1)
-- #include "clock"
local answers = {'ok'}
if whole(clock.events) ~= ARGV[3] then
  return answers
end
for at = 4, #ARGV, 2 do
  local state, counted = ARGV[at], tonumber(ARGV[at + 1])
  local counter = tonumber(redis.call('HGET', prefix .. 'counts', state) or 0)
  if counter ~= counted then
    local size = #answers
    answers[size + 1], answers[size + 2], answers[size + 3] = state, whole(counter), whole(counted)
    answers[size + 4] = ARGV[2] == '1' and 'repaired' or ''
    if ARGV[2] == '1' then
      redis.call('HSET', prefix .. 'counts', state, counted)
    end
  end
end
return answers
