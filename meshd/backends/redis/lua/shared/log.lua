-- log: the event log of a partition, written by the script that made the transition.
-- #include "journal"
-- #include "tables"
-- A transition of a task as one line; its state is left out if the verb tells it, its token if there is none yet.
local function event_line(verb, id, state, token)
  local letter, usual = unpack(VERBS[verb])
  local line = letter .. id
  if token ~= '' then
    line = line .. '\t' .. token
  end
  if state ~= usual then
    line = line .. '\t' .. state
  end
  return line
end

-- One event of a log, appended and told to whoever listens on the topic of the same name.
local function append_event(name, body)
  local counter = name == 'tasks' and 'events' or ('events:' .. name)
  local at = redis.call('HINCRBY', clock_key, counter, 1)
  redis.call('XADD', prefix .. 'ev:' .. name, 'MINID', '~', whole(math.max(at - LOG_CAPACITY, 0)), whole(at) .. '-0',
    'at', now, 'b', body)
  redis.call('PUBLISH', string.match(prefix, '^(mesh:{.*):[^:]*}:$') .. '}:hint:' .. name, body)
  return at
end
