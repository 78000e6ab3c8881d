-- task_reprioritize: give a task that has not ended another priority; it keeps its age.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  task id
-- ARGV[3]  priority
--
-- Returns  {'ok', lease shift, {field, value, …}} | {'missing'} | {'wrong_state', state}
-- Cost     O(log N)
-- #include "tasks"
local record = load(ARGV[2], GUARD_FIELDS)
if not record then
  return {'missing'}
elseif TERMINAL[record.s] then
  return {'wrong_state', record.s}
end
local route, priority = string.match(record.q, '^(.*):([^:]*)$')

local function requeue(queue, turn)
  if record.s == 'ready' then
    withdraw(record)
  elseif record.se ~= '' then
    bucket(acked, record.q)[1] = record.se
  end
  set(record, 'q', queue)
  set(record, 'se', '')
  set(record, 'v', turn)
  if record.s == 'ready' then
    queue_in_front(record)
  end
end

if priority ~= ARGV[3] then
  local vt, order = parts_of(record.se ~= '' and record.se or record.v)
  requeue(route .. ':' .. ARGV[3], whole(vt - OFFSETS[priority] + OFFSETS[ARGV[3]]) .. '-' .. whole(order))
  log('reprioritized', record)
end
flush()
return {'ok', clock.shift, redis.call('HGETALL', task_key(ARGV[2]))}
