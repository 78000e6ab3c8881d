-- append: one event of a log, and told to whoever listens on the topic of the same name.
-- #include "clock"
-- #include "constants"
local function append_event(name, body)
  local counter = name == 'tasks' and 'events' or ('events:' .. name)
  local at = redis.call('HINCRBY', clock_key, counter, 1)
  redis.call('XADD', prefix .. 'ev:' .. name, 'MINID', '~', whole(math.max(at - LOG_CAPACITY, 0)), whole(at) .. '-0',
    'at', now, 'b', body)
  redis.call('PUBLISH', string.match(prefix, '^(mesh:{.*):[^:]*}:$') .. '}:hint:' .. name, body)
  return at
end
