-- task_counts: return how many tasks are in each state.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
--
-- Returns  {state, count, …}
-- Cost     O(log N)
-- #include "clock"
-- #include "constants"
-- #include "tables"
local answers = {}
for _, state in ipairs({'scheduled', 'blocked', 'ready', 'claimed', 'running'}) do
  answers[#answers + 1] = state
  answers[#answers + 1] = tonumber(redis.call('HGET', prefix .. 'counts', state) or 0)
end
for state in pairs(TERMINAL) do
  answers[#answers + 1] = state
  answers[#answers + 1] = redis.call('ZCOUNT', prefix .. 'ended:' .. state, now - SLACK_MS, '+inf')
end
return answers
