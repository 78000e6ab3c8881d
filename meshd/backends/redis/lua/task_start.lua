-- task_start: mark claimed tasks running and charge the start.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] per hold: task id, token
--
-- Returns  one word per hold: 'ok' | 'fenced' | 'expired' | 'wrong_state' | 'missing'
-- Cost     O(holds · log N)
-- #include "journal"
local answers, lines, overdue = {}, {}, {}
-- As text: a number in a call is written with seventeen digits, which costs several times as much.
local call, now_text = redis.call, whole(now)

-- Built only when it is needed: expiring takes everything that an end takes.
local function expire_overdue()
-- #include "tasks"
  for _, id in ipairs(overdue) do
    expire(load(id, GUARD_FIELDS))
  end
  flush()
end

for at = 2, #ARGV, 2 do
  local id, token, answer = ARGV[at], ARGV[at + 1], 'ok'
  local key = prefix .. 't:' .. id
  local found = call('HMGET', key, 's', 'k', 'x', 'st')
  local state, deadline, starts = found[1], found[3], found[4] and tonumber(found[4])
  if not state then
    answer = 'missing'
  elseif (found[2] or '0') ~= token then
    answer = state == 'expired' and 'expired' or 'fenced'
  elseif state ~= 'claimed' and state ~= 'running' then
    answer = 'wrong_state'
  elseif deadline and deadline ~= '' and tonumber(deadline) <= now then
    answer = 'expired'
    overdue[#overdue + 1] = id
  elseif state == 'claimed' then
    call('HSET', key, 's', 'running', 'st', starts and whole(starts + 1) or '1', 'sa', now_text)
    lines[#lines + 1] = 'r' .. id .. '\t' .. token
  end
  answers[#answers + 1] = answer
end
if #lines > 0 then
  redis.call('HINCRBY', prefix .. 'counts', 'claimed', -#lines)
  redis.call('HINCRBY', prefix .. 'counts', 'running', #lines)
  journal(lines)
  save_clock()
end
if #overdue > 0 then
  expire_overdue()
end
return answers
