-- tasks: records as they will be when the call ends, and every index change that follows from them.
-- A script loads all records, applies its steps to them in order, and calls `flush` once: all reads come first.
-- #include "clock"
-- #include "constants"
local records = {}
local touched = {}
local lines = {}
local counted = {}
local leases, unleased, held, unheld = {}, {}, {}, {}
local fronts, unfronted, fresh, acked = {}, {}, {}, {}
local due, undue, deadlines, undeadlined = {}, {}, {}, {}
local ended, unended, retentions, revived = {}, {}, {}, {}
local told, woken = {}, {}

local function task_key(id)
  return prefix .. 't:' .. id
end

local function bucket(map, name)
  local list = map[name]
  if not list then
    list = {}
    map[name] = list
  end
  return list
end

-- A record sized for what most steps read and change, since growing tables is what costs most here.
local function new_record(id)
  return {
    id = id, changes = {nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, size = 0,
    s = nil, k = nil, se = nil, x = nil, q = nil, pol = nil, i = nil, w = nil, n = nil, fi = nil, le = nil, v = nil,
  }
end

local function load(id, fields)
  local record = records[id]
  if record ~= nil then
    return record
  end
  local values = redis.call('HMGET', task_key(id), unpack(fields))
  if not values[1] then
    records[id] = false
    return false
  end
  record = new_record(id)
  for at = 1, #fields do
    record[fields[at]] = values[at] or ''
  end
  if record.pol == '' then
    record.pol = USUAL_POLICY
  end
  records[id] = record
  return record
end

-- Read the fields a rarer step needs, keeping what this call has changed already.
local function widen(record)
  local values = redis.call('HMGET', task_key(record.id), unpack(GUARD_FIELDS))
  for at, field in ipairs(GUARD_FIELDS) do
    if record[field] == nil then
      record[field] = values[at] or ''
    end
  end
  if record.pol == '' then
    record.pol = USUAL_POLICY
  end
  return record
end

local function set(record, field, value)
  local changes, size = record.changes, record.size
  if size == 0 then
    touched[#touched + 1] = record
  end
  changes[size + 1] = field
  changes[size + 2] = value
  record.size = size + 2
  record[field] = value
end

local function number(text)
  return tonumber(text) or 0
end

local function token_of(record)
  return record.k == '' and '0' or record.k
end

local function raise_token(record)
  set(record, 'k', whole(number(record.k) + 1))
end

local function log(verb, record)
  lines[#lines + 1] = verb .. '\t' .. record.id .. '\t' .. record.s .. '\t' .. token_of(record)
end

local function count(state, change)
  counted[state] = (counted[state] or 0) + change
end

local function is_overdue(record)
  return record.x ~= '' and tonumber(record.x) <= now
end

-- Take a record out of every index of the state it is in.
local function withdraw(record)
  local state = record.s
  if state == 'claimed' or state == 'running' then
    unleased[#unleased + 1] = record.id
    local list = bucket(unheld, record.n)
    list[#list + 1] = record.id
  elseif state == 'scheduled' then
    undue[#undue + 1] = record.id
  elseif state == 'ready' and record.se == '' then
    local list = bucket(unfronted, record.q)
    list[#list + 1] = record.id
  elseif state ~= 'ready' then
    local list = bucket(unended, state)
    list[#list + 1] = record.id
  end
  if TERMINAL[state] == nil then
    count(state, -1)
  end
  if record.se ~= '' then
    local list = bucket(acked, record.q)
    list[#list + 1] = record.se
    set(record, 'se', '')
  end
end

local function wake(queue, vt)
  local news = woken[queue]
  if news then
    news.size = news.size + 1
    news.vt = math.min(news.vt, vt)
  else
    woken[queue] = {size = 1, vt = vt}
  end
end

-- Ready in its old place, which a stream cannot give: the front of its queue.
local function queue_in_front(record)
  set(record, 's', 'ready')
  count('ready', 1)
  local list = bucket(fronts, record.q)
  list[#list + 1] = record.v
  list[#list + 1] = record.id
  wake(record.q, number(record.v))
end

-- Ready for the first time in its generation: the end of its stream, whose ids are virtual times.
local function queue_at_end(record, vt)
  set(record, 's', 'ready')
  set(record, 'v', vt)
  count('ready', 1)
  local list = bucket(fresh, record.q)
  list[#list + 1] = record
  wake(record.q, vt)
end

local function schedule(record, due_ms)
  set(record, 's', 'scheduled')
  set(record, 'd', due_ms)
  count('scheduled', 1)
  due[#due + 1] = due_ms
  due[#due + 1] = record.id
end

local retention_of = {}

local function retention(policy, state)
  local ttls = retention_of[policy]
  if not ttls then
    local kept, dead = string.match(policy, '^%d+,%d+,(%d+),(%d+)')
    ttls = {kept = tonumber(kept), dead = tonumber(dead)}
    retention_of[policy] = ttls
  end
  return state == 'dead' and ttls.dead or ttls.kept
end

local function tell_watchers(record)
  for topic in string.gmatch(record.w, '[^\n]+') do
    local list = bucket(told, topic)
    list[#list + 1] = {task = record.id, state = record.s}
  end
end

-- End a record in a terminal state; `reason` nil keeps the one it has.
local function end_task(record, state, reason)
  withdraw(record)
  set(record, 's', state)
  set(record, 'fi', now)
  if reason then
    set(record, 're', reason)
  end
  if record.x ~= '' then
    undeadlined[#undeadlined + 1] = record.id
  end
  local ttl = retention(record.pol, state)
  local list = bucket(ended, state)
  list[#list + 1] = now + ttl
  list[#list + 1] = record.id
  retentions[#retentions + 1] = {record = record, ttl = ttl + SLACK_MS}
  if record.w ~= '' then
    tell_watchers(record)
  end
end

local function unhold(record)
  for _, field in ipairs({'n', 'inc', 'le', 'pr', 'no'}) do
    set(record, field, '')
  end
end

local function give_back(record)
  if record.cq == '1' then
    end_task(record, 'cancelled')
    return
  end
  withdraw(record)
  unhold(record)
  queue_in_front(record)
end

local function add_error(record, kind, message, detail)
  local entry = cjson.encode({
    attempt = number(record.f) + number(record.cr) + 1,
    kind = kind,
    message = message,
    node_id = record.n,
    at_ms = now,
    detail = detail,
  })
  set(record, 'e', record.e == '' and entry or (record.e .. '\n' .. entry))
end

local function expire(record)
  raise_token(record)
  end_task(record, 'expired', 'deadline passed')
  log('expired', record)
end

local function reclaim(record)
  raise_token(record)
  if record.s == 'running' then
    add_error(record, 'crashed', 'its node died or lost the lease while running it', '')
    set(record, 'cr', number(record.cr) + 1)
  end
  local _, max_crashes = string.match(record.pol, '^(%d+),(%d+)')
  if number(record.cr) >= tonumber(max_crashes) or number(record.cl) >= MAX_CLAIMS then
    end_task(record, 'dead', 'crashed')
  else
    give_back(record)
  end
  log('reclaimed', record)
end
-- #include "flush"
