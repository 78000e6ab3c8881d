-- task_start: mark claimed tasks running and charge the start.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] per hold: task id, token
--
-- Returns  one word per hold: 'ok' | 'fenced' | 'expired' | 'wrong_state' | 'missing'
-- Cost     O(holds · log N)
-- #include "tasks"
local fields = {'s', 'k', 'x', 'st'}

local function start(id, token)
  local record = load(id, fields)
  if not record then
    return 'missing'
  elseif token_of(record) ~= token then
    return record.s == 'expired' and 'expired' or 'fenced'
  elseif record.s ~= 'claimed' and record.s ~= 'running' then
    return 'wrong_state'
  elseif is_overdue(record) then
    expire(widen(record))
    return 'expired'
  elseif record.s == 'running' then
    return 'ok'
  end
  set(record, 's', 'running')
  set(record, 'st', number(record.st) + 1)
  set(record, 'sa', now)
  count('claimed', -1)
  count('running', 1)
  log('started', record)
  return 'ok'
end

local answers = {}
for at = 2, #ARGV, 2 do
  answers[#answers + 1] = start(ARGV[at], ARGV[at + 1])
end
flush()
return answers
