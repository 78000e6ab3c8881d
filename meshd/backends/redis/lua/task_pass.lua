-- task_pass: ring another waiting claimer for what is ready here, since the one that was rung cannot come.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
--
-- Returns  'ok' | 'nobody' when nothing is ready that somebody waits for
-- Cost     O(log N), for at most 16 queues
-- #include "tasks"
local profiles = redis.call('ZRANGEBYSCORE', prefix .. 'idling', '(' .. now, '+inf', 'LIMIT', 0, 64)
local waiting = {}
if #profiles > 0 then
  for _, queue in ipairs(redis.call('ZRANGE', prefix .. 'ready', 0, 15)) do
    if #rings == 0 then
      plan_rings(queue, 1, profiles, waiting)
    end
  end
end
write_rings()
return #rings > 0 and 'ok' or 'nobody'
