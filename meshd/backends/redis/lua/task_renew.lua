-- task_renew: extend leases, never shortening one.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  lease, ms
-- ARGV[3…] per hold: task id, token
--
-- Returns  one word per hold: 'ok' | 'cancel_requested' | 'fenced' | 'wrong_state' | 'missing'
-- Cost     O(holds · log N)
-- #include "clock"
local until_ms = now + tonumber(ARGV[2]) - clock.shift
local answers, leases = {}, {}
for at = 3, #ARGV, 2 do
  local id, answer = ARGV[at], 'ok'
  local key = prefix .. 't:' .. id
  local found = redis.call('HMGET', key, 's', 'k', 'le', 'cq')
  local state = found[1]
  if not state then
    answer = 'missing'
  elseif (found[2] or '0') ~= ARGV[at + 1] then
    answer = 'fenced'
  elseif state ~= 'claimed' and state ~= 'running' then
    answer = 'wrong_state'
  else
    answer = found[4] == '1' and 'cancel_requested' or 'ok'
    if until_ms > (tonumber(found[3] or 0) or 0) then
      redis.call('HSET', key, 'le', until_ms)
      leases[#leases + 1] = until_ms
      leases[#leases + 1] = id
    end
  end
  answers[#answers + 1] = answer
end
if #leases > 0 then
  redis.call('ZADD', prefix .. 'lease', unpack(leases))
  redis.call('HSET', clock_key, 'now', now)
end
return answers
