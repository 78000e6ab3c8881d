-- task_settle: tell tasks that wait for others which of these have ended; what is cancelled by that tells its own.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  most tasks to tell
--
-- Returns  {'ok', tasks told, 'more' | 'all'}
-- Cost     O(limit · log N)
-- #include "tasks"
-- #include "waits"
local budget = tonumber(ARGV[2])
local outbox, fields = prefix .. 'outbox', {'wf', 'ra', 'd', 'c'}
local told, heard = 0, {}
for _, field in ipairs(GUARD_FIELDS) do
  fields[#fields + 1] = field
end

-- Tell those that wait for one end, as far as the budget goes; returns whether that is all of them.
local function tell(ended)
  local parent, state, generation = string.match(ended, '^(%S+) (%S+) (%d*)$')
  local key = kids_key(parent, generation)
  local kids = redis.call('ZRANGE', key, 0, budget - 1)
  for _, kid in ipairs(kids) do
    local record = load(kid, fields)
    if record and settle(record, parent, state) then
      told = told + 1
    end
  end
  budget = budget - #kids
  if #kids > 0 then
    heard[#heard + 1] = {key = key, size = #kids}
  end
  return budget > 0
end

local finished, untold = {}, {}
for _, ended in ipairs(redis.call('ZRANGE', outbox, 0, budget - 1)) do
  if budget > 0 and tell(ended) then
    finished[#finished + 1] = ended
  end
end
local at = 1
while outgoing[at] do
  if budget <= 0 or not tell(outgoing[at]) then
    untold[#untold + 1] = outgoing[at]
  end
  at = at + 1
end
outgoing = untold
save_waits()
flush()
for _, each in ipairs(heard) do
  redis.call('ZREMRANGEBYRANK', each.key, 0, each.size - 1)
end
variadic('ZREM', outbox, finished)
return {'ok', told, redis.call('EXISTS', outbox) == 1 and 'more' or 'all'}
