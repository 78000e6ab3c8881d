-- task_audit_index: hold some entries of one index against the tasks they name, and drop those that name none.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  '1' to mend ('' = only look)
-- ARGV[3]  kind of the index: lease, sched, dl, backs, ended, held, placed, q or front
-- ARGV[4]  its name ('' = it has none)
-- ARGV[5…] members; of a stream: entry, task id, …
--
-- Returns  {'ok', what, member, 'repaired' | '', …}
-- Cost     O(members · log N)
-- #include "tasks"
-- #include "ids"
local is_mending, kind, name = ARGV[2] == '1', ARGV[3], ARGV[4]
local key = prefix .. kind .. (name == '' and '' or (':' .. name))
local answers, dropped, unlisted = {'ok'}, {}, {}

local function find(what, member)
  local size = #answers
  answers[size + 1], answers[size + 2], answers[size + 3] = what, member, is_mending and 'repaired' or ''
end

local function is_held(record)
  return record.s == 'claimed' or record.s == 'running'
end

-- Whether a task belongs where an index has it.
local belongs = {
  lease = is_held,
  sched = function(record) return record.s == 'scheduled' end,
  dl = function(record) return record.x ~= '' and not TERMINAL[record.s] end,
  backs = function(record) return record.s == 'ready' and is_placed(record) end,
  ended = function(record) return record.s == name end,
  held = function(record) return is_held(record) and record.n == name end,
  placed = function(record) return record.at == name and not TERMINAL[record.s] end,
  q = function(record, entry) return record.se == entry and record.q == name end,
  front = function(record, member)
    return record.s == 'ready' and record.se == '' and record.q .. place_of(record) == name
      and front_member(record) == member
  end,
}

local function judge(member, id)
  local record = load(id, GUARD_FIELDS)
  if not record or not belongs[kind](record, member) then
    find((record and 'a task that is ' .. record.s .. ' and not there' or 'a task that does not exist') .. ' is in '
      .. kind .. (name == '' and '' or (' ' .. name)), member)
    dropped[#dropped + 1] = member
  elseif record then
    local chunk = chunk_of(id)
    if not chunk or not redis.call('ZSCORE', chunk_key(chunk), id) then
      find('the task is kept, and not listed', id)
      unlisted[#unlisted + 1] = id
    end
  end
end

if kind == 'q' then
  for at = 5, #ARGV, 2 do
    judge(ARGV[at], ARGV[at + 1])
  end
else
  for at = 5, #ARGV do
    judge(ARGV[at], kind == 'front' and string.sub(ARGV[at], 13) or ARGV[at])
  end
end
if is_mending then
  if kind == 'q' and #dropped > 0 then
    redis.call('XACK', key, GROUP, unpack(dropped))
    redis.call('XDEL', key, unpack(dropped))
  elseif #dropped > 0 then
    redis.call((kind == 'held' or kind == 'placed') and 'SREM' or 'ZREM', key, unpack(dropped))
  end
  for _, id in ipairs(unlisted) do
    add_late_ids({id}, 1, 1)
  end
end
return answers
