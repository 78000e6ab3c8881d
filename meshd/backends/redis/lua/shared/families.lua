-- families: new tasks and the parents they name, each of these kept or before its child in the same call.
-- #include "waits"
local owners, kids = {}, {}
local parent_fields = {'s', 'ch', 'g'}

-- The parents that a list names, some perhaps in this call and known under another id; nil and the id of one unknown.
local function parents_in(list)
  local parents, is_in = {}, {}
  for id in string.gmatch(list, '%S+') do
    id = owners[id] or id
    if not load(id, parent_fields) then
      return nil, id
    elseif not is_in[id] then
      is_in[id] = true
      parents[#parents + 1] = id
    end
  end
  return parents
end

-- Block a new record if it has to wait for parents; one of them that failed already settles that at once.
local function wait_for(record, parents)
  local waits, failed = {}, nil
  for _, id in ipairs(parents) do
    local state = records[id].s
    if state ~= 'completed' and not (record.ra == '1' and TERMINAL[state]) then
      waits[#waits + 1] = id
      failed = failed or (TERMINAL[state] and id)
    end
  end
  if #waits == 0 then
    return false
  end
  block(record, waits)
  log('submitted', record)
  if failed then
    settle(record, failed, records[failed].s)
    return true
  end
  local _, order = parts_of(record.v)
  for _, id in ipairs(waits) do
    local list = bucket(kids, kids_key(id, records[id].g))
    list[#list + 1] = order
    list[#list + 1] = record.id
    if records[id].ch ~= '1' then
      set(records[id], 'ch', '1')
    end
  end
  return true
end

-- The parents of the task whose arguments begin here; nil if it names none, nil and an id if that is unknown.
local function parents_listed(at)
  for field = at + 7, at + 6 + tonumber(ARGV[at + 6]), 2 do
    if ARGV[field] == 'dep' then
      return parents_in(ARGV[field + 1])
    end
  end
  return nil
end

local function write_kids()
  for key, members in pairs(kids) do
    redis.call('ZADD', key, unpack(members))
  end
end
