-- task_resume: hand out a type of task again, or everything, and ring some of those who wait.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  task type ('*' = the mesh)
--
-- Returns  {'ok', 'more' | 'all'}: with 'more' others wait, call again
-- Cost     O(256 · log N)
-- #include "tasks"
local waiting, has_more = {}, false
for _, profile in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'idling', '(' .. now, '+inf', 'LIMIT', 0, 16)) do
  local names = waiting_of(profile, waiting)
  for _, claimer in ipairs(names) do
    rings[#rings + 1] = {profile = profile, claimer = claimer}
  end
  has_more = true
  drained[profile] = names.is_all
  if #rings >= MAX_BATCH then
    break
  end
end
redis.call('SREM', prefix .. 'paused', ARGV[2])
write_rings()
return {'ok', has_more and 'more' or 'all'}
