-- task_cancel: cancel a task that has not started, ask a running one to stop.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  task id
-- ARGV[3]  reason
--
-- Returns  {'ok', lease shift, {field, value, …}, 'settle' if others wait for one that ended, now or before}
--          | {'missing'} | {'wrong_state', state}
-- Cost     O(log N)
-- #include "tasks"
local record = load(ARGV[2], GUARD_FIELDS)
if not record then
  return {'missing'}
end
local state = record.s
if state == 'running' and record.cq ~= '1' then
  set(record, 'cq', '1')
  set(record, 're', ARGV[3])
  log('cancel_requested', record)
elseif state == 'scheduled' or state == 'blocked' or state == 'ready' or state == 'claimed' then
  raise_token(record)
  end_task(record, 'cancelled', ARGV[3])
  log('cancelled', record)
elseif state ~= 'cancelled' and state ~= 'running' then
  return {'wrong_state', state}
end
flush()
local settles = outgoing[1] or redis.call('EXISTS', prefix .. 'outbox') == 1
return {'ok', clock.shift, redis.call('HGETALL', task_key(ARGV[2])), settles and 'settle'}
