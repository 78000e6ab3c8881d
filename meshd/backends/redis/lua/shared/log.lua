-- log: the event log of a partition, written by the script that made the transition.
-- #include "append"
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
