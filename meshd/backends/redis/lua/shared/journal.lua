-- journal: what a call did to tasks: one log entry for all its transitions, a line each, and the clock after them.
-- #include "clock"
-- #include "constants"
local function journal(lines)
  if #lines == 0 then
    return
  end
  clock.events = clock.events + #lines
  redis.call('XADD', prefix .. 'ev:tasks', 'MINID', '~', whole(math.max(clock.events - LOG_CAPACITY, 0)),
    whole(clock.events) .. '-0', 'at', now, 't', table.concat(lines, '\n'))
end
