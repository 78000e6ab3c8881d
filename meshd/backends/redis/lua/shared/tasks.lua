-- tasks: records as they will be when the call ends, and every index change that follows from them.
-- A script loads all records, applies its steps to them in order, and calls `flush` once: all reads come first.
-- #include "log"
local records = {}
local touched = {}
local lines = {}
local counted = {}
local leases, unleased, held, unheld = {}, {}, {}, {}
local fronts, unfronted, fresh, acked = {}, {}, {}, {}
local due, undue, deadlines, undeadlined = {}, {}, {}, {}
local ended, unended, retentions, revived = {}, {}, {}, {}
local told, woken, placings = {}, {}, {}
local outgoing = {}

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

-- The record's own next token; the fence that gives tokens out stays above it.
local function raise_token(record)
  local token = number(record.k) + 1
  set(record, 'k', whole(token))
  clock.fence = math.max(clock.fence, token)
end

local function log(verb, record)
  lines[#lines + 1] = event_line(verb, record.id, record.s, record.k)
end

local function count(state, change)
  counted[state] = (counted[state] or 0) + change
end

local function is_overdue(record)
  return record.x ~= '' and tonumber(record.x) <= now
end

-- Where a ready task waits: '' for all, '@node' for one node, '~' for whoever works on nothing else, '~@node'.
local function place_of(record)
  local place = number(record.cr) > 0 and '~' or ''
  return (record.at or '') == '' and place or (place .. '@' .. record.at)
end

local function is_placed(record)
  return record.at ~= '' and record.pin ~= '1'
end

-- A task's turn is its virtual time and, among equals, its number in the order of submission: '<vt>-<number>'.
local function turn_of(vt)
  clock.seq = clock.seq + 1
  return whole(vt) .. '-' .. whole(clock.seq)
end

local function parts_of(turn)
  local vt, order = string.match(turn, '^(%d+)%-(%d+)$')
  return tonumber(vt), tonumber(order)
end

-- Forget the stream entry, which is withdrawn: the turn that it told is kept in a field of its own.
local function unstream(record)
  if record.se ~= '' then
    set(record, 'v', record.se)
    set(record, 'se', '')
  end
end

-- The front of a queue is sorted by virtual time, then by member, so a member begins with the number.
local function front_member(record)
  local vt, order = parts_of(record.v)
  return string.format('%012.0f', order) .. record.id, vt
end

-- Take a record out of every index of the state it is in.
local function withdraw(record)
  local state = record.s
  if state == 'claimed' or state == 'running' then
    unleased[#unleased + 1] = record.id
    local list = bucket(unheld, record.n)
    list[#list + 1] = record.id
  elseif TERMINAL[state] then
    local list = bucket(unended, state)
    list[#list + 1] = record.id
    return
  else
    if state == 'scheduled' then
      undue[#undue + 1] = record.id
    elseif state == 'ready' and record.se == '' then
      local list = bucket(unfronted, record.q .. place_of(record))
      list[#list + 1] = front_member(record)
    end
    if is_placed(record) then
      placings[record.id] = {node = record.at}
    end
  end
  count(state, -1)
  if record.se ~= '' then
    local list = bucket(acked, record.q)
    list[#list + 1] = record.se
  end
end

local function wake(queue, place, vt)
  local news = woken[queue .. place]
  if news then
    news.size = news.size + 1
    news.vt = math.min(news.vt, vt)
  else
    woken[queue .. place] = {queue = queue, place = place, size = 1, vt = vt}
  end
end

-- Ready in its old place, which a stream cannot give: the front of its queue.
local function queue_in_front(record)
  unstream(record)
  set(record, 's', 'ready')
  count('ready', 1)
  local place = place_of(record)
  local member, vt = front_member(record)
  local list = bucket(fronts, record.q .. place)
  list[#list + 1] = vt
  list[#list + 1] = member
  if is_placed(record) then
    placings[record.id] = {node = record.at, stays = true, opens = number(record.hb)}
  end
  wake(record.q, place, vt)
end

-- Ready for the first time in its generation: the end of its stream, whose ids are turns.
local function queue_at_end(record, turn)
  record.v = turn
  if place_of(record) ~= '' then
    set(record, 'v', record.v)
    queue_in_front(record)
    return
  end
  set(record, 's', 'ready')
  count('ready', 1)
  local list = bucket(fresh, record.q)
  list[#list + 1] = record
  wake(record.q, '', (parts_of(turn)))
end

local function schedule(record, due_ms)
  unstream(record)
  set(record, 's', 'scheduled')
  set(record, 'd', due_ms)
  count('scheduled', 1)
  due[#due + 1] = due_ms
  due[#due + 1] = record.id
  if is_placed(record) then
    placings[record.id] = {node = record.at, stays = true}
  end
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
  if record.ch == '1' then
    outgoing[#outgoing + 1] = record.id .. ' ' .. state .. ' ' .. record.g
  end
end

local function unplace(record)
  if is_placed(record) then
    set(record, 'at', '')
  end
end

local function unhold(record)
  for _, field in ipairs({'n', 'inc', 'le', 'pr', 'no'}) do
    set(record, field, '')
  end
  unplace(record)
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

-- Anybody may take it from now on.
local function open_to_all(record)
  if record.s == 'ready' then
    withdraw(record)
    unplace(record)
    queue_in_front(record)
  else
    placings[record.id] = {node = record.at}
    unplace(record)
  end
  log('opened', record)
end

local function reclaim(record, why)
  raise_token(record)
  if record.s == 'running' then
    add_error(record, 'crashed', why, 'incarnation ' .. record.inc .. ', started at ' .. record.sa .. ', claimed '
      .. record.cl .. ' times')
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
