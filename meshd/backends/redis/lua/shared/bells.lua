-- bells: how a waiting claimer is rung.
-- #include "constants"
-- A claimer of many partitions hears what is published; one of a single partition waits at its list.
local function ring_bell(claimer)
  if PUBLISHES_RINGS then
    local mesh, partition = string.match(prefix, '^(mesh:{.*):([^:]*)}:$')
    redis.call('PUBLISH', mesh .. '}:hint:bell:' .. claimer, partition)
  else
    redis.call('RPUSH', prefix .. 'bell:' .. claimer, 1)
    redis.call('PEXPIRE', prefix .. 'bell:' .. claimer, BELL_MS)
  end
end
