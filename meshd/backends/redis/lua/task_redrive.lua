-- task_redrive: make an ended task ready again as a new generation.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  task id
--
-- Returns  {'ok', lease shift, {field, value, …}} | {'missing'} | {'wrong_state', state}
-- Cost     O(log N)
-- #include "tasks"
local record = load(ARGV[2], GUARD_FIELDS)
if not record then
  return {'missing'}
elseif record.s ~= 'dead' and record.s ~= 'cancelled' and record.s ~= 'expired' then
  return {'wrong_state', record.s}
end
local created = redis.call('HGET', task_key(record.id), 'c')
local offset = OFFSETS[string.match(record.q, '[^:]*$')]
if not created then
  set(record, 'c', parts_of(record.se ~= '' and record.se or record.v) - offset)
end
withdraw(record)
unplace(record)
raise_token(record)
set(record, 'g', number(record.g) + 1)
for _, field in ipairs({'se', 'n', 'x', 'cl', 'st', 'f', 'cr', 'cq', 're', 'fi', 'pr', 'no', 'wf', 'ch'}) do
  set(record, field, '')
end
set(record, 'd', now)
queue_at_end(record, turn_of(now + offset))
revived[1] = record
log('redriven', record)
flush()
return {'ok', clock.shift, redis.call('HGETALL', task_key(ARGV[2]))}
