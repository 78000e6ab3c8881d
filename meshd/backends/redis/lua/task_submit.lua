-- task_submit: create tasks, each once.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  most routes the partition may know
-- ARGV[3…] per task: id, queue, offset ms, delay ms, life ms ('' = no deadline), idempotency key ('' = none),
--          count of further fields and values, then these
--
-- Returns  {'ok', id, 'created' | 'known', state, …} | {'routes_full', route}
-- Cost     O(tasks · log N), and O(profiles) for each new route
-- #include "tasks"
local limit = tonumber(ARGV[2])
local answers = {'ok'}
local keyed = {}
local routes, route_total = {}, redis.call('ZCARD', prefix .. 'routes')

local function state_of(id)
  local record = records[id]
  if record then
    return record.s
  end
  return redis.call('HGET', task_key(id), 's')
end

local function known(id, idempotency)
  local state = state_of(id)
  if state then
    return id, state
  end
  if idempotency == '' then
    return nil
  end
  local owner = keyed[idempotency] or redis.call('GET', prefix .. 'idem:' .. idempotency)
  state = owner and state_of(owner)
  if state then
    return owner, state
  end
  return nil
end

local function admit(queue)
  local route = route_of(queue)
  if routes[route] == nil then
    routes[route] = true
    if not redis.call('ZSCORE', prefix .. 'routes', route) then
      route_total = route_total + 1
    end
  end
  return route_total <= limit, route
end

local function create(at, id, idempotency)
  local record = new_record(id)
  record.q, record.se, record.k, record.i, record.w = ARGV[at + 1], '', '', idempotency, ''
  records[id] = record
  local delay = tonumber(ARGV[at + 3])
  set(record, 'q', record.q)
  set(record, 'c', now)
  for field = at + 7, at + 6 + tonumber(ARGV[at + 6]), 2 do
    set(record, ARGV[field], ARGV[field + 1])
  end
  if ARGV[at + 4] ~= '' then
    set(record, 'x', now + tonumber(ARGV[at + 4]))
    deadlines[#deadlines + 1] = record.x
    deadlines[#deadlines + 1] = id
  end
  local vt = now + delay + tonumber(ARGV[at + 2])
  if delay > 0 then
    set(record, 'v', vt)
    schedule(record, now + delay)
  else
    queue_at_end(record, vt)
  end
  if idempotency ~= '' then
    set(record, 'i', idempotency)
    keyed[idempotency] = id
  end
  log('submitted', record)
  return record.s
end

local function submit(at)
  local id, idempotency = ARGV[at], ARGV[at + 5]
  local owner, state = known(id, idempotency)
  local word = 'known'
  if not owner then
    local admitted, route = admit(ARGV[at + 1])
    if not admitted then
      return route
    end
    owner, state, word = id, create(at, id, idempotency), 'created'
  end
  local size = #answers
  answers[size + 1], answers[size + 2], answers[size + 3] = owner, word, state
  return nil
end

local at = 3
while at <= #ARGV do
  local refused = submit(at)
  if refused then
    return {'routes_full', refused}
  end
  at = at + 7 + tonumber(ARGV[at + 6])
end
local ids = {}
for _, record in ipairs(touched) do
  ids[#ids + 1] = 0
  ids[#ids + 1] = record.id
end
flush()
variadic('ZADD', prefix .. 'ids', ids)
for idempotency, id in pairs(keyed) do
  redis.call('SET', prefix .. 'idem:' .. idempotency, id)
end
return answers
