-- task_sweep: do what time makes due: promote, open, reclaim lapsed holds, expire, ring again, forget.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  most tasks of each kind
-- ARGV[3]  time without a sweep over which the store itself may have stood still, ms
--
-- Returns  {'ok', promoted, opened, reclaimed, buried, expired, 'graced' | 'steady', 'more' | 'all',
--          'settle' if tasks have ended for which others wait, 'quiet' if nothing is ready, held or due}
-- Cost     O(limit · log N)
-- #include "tasks"
-- #include "ids"
local limit, standstill = tonumber(ARGV[2]), tonumber(ARGV[3])
local tick = tonumber(redis.call('HGET', clock_key, 'tick') or now)
local gap = now - tick
local is_graced = gap > standstill
if is_graced and redis.call('ZCARD', prefix .. 'lease') > 0 then
  clock.shift = clock.shift + gap
end
local has_more = false
local stale_backs = {}

local function due_in(index, till)
  local ids = redis.call('ZRANGEBYSCORE', prefix .. index, '-inf', till, 'LIMIT', 0, limit)
  has_more = has_more or #ids >= limit
  return ids
end

local function promote(ids)
  local promoted, opened = 0, 0
  for _, id in ipairs(ids) do
    local record = load(id, GUARD_FIELDS)
    if record and record.s == 'scheduled' then
      withdraw(record)
      queue_in_front(record)
      log('promoted', record)
      promoted = promoted + 1
      if is_placed(record) and number(record.hb) <= now then
        open_to_all(record)
        opened = opened + 1
      end
    else
      undue[#undue + 1] = id
    end
  end
  return promoted, opened
end

-- Hold-backs that are over: whoever serves the route may take the task from now on.
local function open_held_back(ids)
  local opened = 0
  for _, id in ipairs(ids) do
    local record = load(id, GUARD_FIELDS)
    if record and record.s == 'ready' and is_placed(record) then
      open_to_all(record)
      opened = opened + 1
    else
      stale_backs[#stale_backs + 1] = id
    end
  end
  return opened
end

local function take_lapsed(ids)
  local reclaimed, buried = 0, 0
  for _, id in ipairs(ids) do
    local record = load(id, GUARD_FIELDS)
    if record and (record.s == 'claimed' or record.s == 'running') then
      reclaim(record, LAPSED)
      if record.s == 'dead' then
        buried = buried + 1
      else
        reclaimed = reclaimed + 1
      end
    else
      unleased[#unleased + 1] = id
    end
  end
  return reclaimed, buried
end

local function expire_overdue(ids)
  local expired = 0
  for _, id in ipairs(ids) do
    local record = load(id, GUARD_FIELDS)
    if record and not TERMINAL[record.s] and is_overdue(record) then
      expire(record)
      expired = expired + 1
    else
      undeadlined[#undeadlined + 1] = id
    end
  end
  return expired
end

-- Records past their retention: usually gone by their TTL, so only index entries and leftovers remain.
local function plan_forgetting()
  local plan = {}
  for state in pairs(TERMINAL) do
    local ids = due_in('ended:' .. state, now)
    local gone = {}
    for _, id in ipairs(ids) do
      gone[#gone + 1] = task_key(id)
      local idempotency = redis.call('HGET', task_key(id), 'i')
      if idempotency and redis.call('GET', prefix .. 'idem:' .. idempotency) == id then
        gone[#gone + 1] = prefix .. 'idem:' .. idempotency
      end
    end
    plan[#plan + 1] = {index = prefix .. 'ended:' .. state, ids = ids, keys = gone}
  end
  return plan
end

-- A ring is for one claimer. If that one does not come, the next is rung for what is still ready. Whatever is paused is
-- ready, too, and rings nobody.
local function ring_next()
  local queues = #rings == 0 and redis.call('ZRANGE', prefix .. 'ready', 0, 15) or {}
  if #queues == 0 or redis.call('EXISTS', prefix .. 'paused') == 1 then
    return
  end
  local profiles, waiting = redis.call('ZRANGEBYSCORE', prefix .. 'idling', '(' .. now, '+inf', 'LIMIT', 0, 64), {}
  for _, queue in ipairs(queues) do
    if #rings == 0 and #profiles > 0 then
      plan_rings(queue, 1, profiles, waiting)
    end
  end
  write_rings()
end

local function is_quiet()
  local waiting = {prefix .. 'ready', prefix .. 'sched', prefix .. 'backs', prefix .. 'lease', prefix .. 'dl'}
  return redis.call('EXISTS', unpack(waiting)) == 0
end

local forgetting = plan_forgetting()
local due_ids, held_back = due_in('sched', now), due_in('backs', now)
local lapsed, overdue = due_in('lease', now - clock.shift), due_in('dl', now)
local promoted, opened = promote(due_ids)
opened = opened + open_held_back(held_back)
local reclaimed, buried = take_lapsed(lapsed)
local expired = expire_overdue(overdue)
flush()
variadic('ZREM', prefix .. 'backs', stale_backs)
ring_next()
for _, step in ipairs(forgetting) do
  if #step.keys > 0 then
    redis.call('UNLINK', unpack(step.keys))
  end
  variadic('ZREM', step.index, step.ids)
  forget_ids(step.ids)
end
redis.call('HSET', clock_key, 'now', now, 'ahead', clock.ahead, 'tick', now, 'shift', clock.shift)
return {
  'ok', promoted, opened, reclaimed, buried, expired, is_graced and 'graced' or 'steady', has_more and 'more' or 'all',
  redis.call('EXISTS', prefix .. 'outbox') == 1 and 'settle', is_quiet() and 'quiet',
}
