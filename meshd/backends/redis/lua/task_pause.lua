-- task_pause: stop handing out a type of task, or everything.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  task type ('*' = the mesh)
--
-- Returns  {'ok'}
-- Cost     O(1)
-- #include "clock"
redis.call('SADD', prefix .. 'paused', ARGV[2])
return {'ok'}
