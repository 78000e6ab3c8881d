-- task_renew: extend leases, never shortening one.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  lease, ms
-- ARGV[3…] per hold: task id, token
--
-- Returns  one word per hold: 'ok' | 'cancel_requested' | 'fenced' | 'wrong_state' | 'missing'
-- Cost     O(holds · log N)
-- #include "tasks"
local fields = {'s', 'k', 'le', 'cq'}
local until_ms = now + tonumber(ARGV[2]) - clock.shift

local function renew(id, token)
  local record = load(id, fields)
  if not record then
    return 'missing'
  elseif token_of(record) ~= token then
    return 'fenced'
  elseif record.s ~= 'claimed' and record.s ~= 'running' then
    return 'wrong_state'
  end
  if until_ms > number(record.le) then
    set(record, 'le', until_ms)
    leases[#leases + 1] = until_ms
    leases[#leases + 1] = id
  end
  return record.cq == '1' and 'cancel_requested' or 'ok'
end

local answers = {}
for at = 3, #ARGV, 2 do
  answers[#answers + 1] = renew(ARGV[at], ARGV[at + 1])
end
flush()
return answers
