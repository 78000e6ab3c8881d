-- task_finish: end holds in order: complete, fail, release or stop.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] per ending, one of: 'completed', id, token, result
--          'failed', id, token, kind, message, detail, wait before the retry in ms ('' = no retry)
--          'released', id, token
--          'stopped', id, token
--
-- Returns  one word per ending: 'ok' | 'already_done' | 'fenced' | 'expired' | 'wrong_state' | 'missing',
--          then 'settle' if others wait for one that ended, now or before: who was told of it may be gone
-- Cost     O(endings · log N)
-- #include "journal"
local answers = {}

-- Every ending but a plain completion. Built only when one comes; from then on it takes all that follow in the call.
local function open_steps()
-- #include "tasks"
  local fields = {'s', 'k', 'se', 'x', 'q', 'pol', 'i', 'w', 'n', 'ch', 'g'}
  local given_back = {ready = true, scheduled = true, dead = true}
  local holding = {claimed = true, running = true}

  -- An end that overtakes its start charges it as well.
  local function charge_start(record)
    set(record, 'st', number(record.st) + 1)
    set(record, 'sa', now)
  end

  local function completed(record, at)
    if record.s == 'completed' then
      return 'already_done'
    elseif not holding[record.s] then
      return 'wrong_state'
    end
    if record.s == 'claimed' then
      charge_start(widen(record))
    end
    set(record, 'res', ARGV[at + 3])
    end_task(record, 'completed')
    log('completed', record)
    return 'ok'
  end

  local function retry(record, wait)
    if wait > 0 then
      withdraw(record)
      unhold(record)
      schedule(record, now + wait)
    else
      give_back(record)
    end
  end

  local function failed(record, at)
    if given_back[record.s] then
      return 'already_done'
    elseif not holding[record.s] then
      return 'wrong_state'
    end
    widen(record)
    local kind, wait = ARGV[at + 3], tonumber(ARGV[at + 6])
    add_error(record, kind, ARGV[at + 4], ARGV[at + 5])
    set(record, 'f', number(record.f) + 1)
    if record.cq == '1' then
      end_task(record, 'cancelled')
    elseif not wait or record.f >= tonumber(string.match(record.pol, '^%d+')) then
      end_task(record, 'dead', kind)
    else
      retry(record, wait)
    end
    log('failed', record)
    return 'ok'
  end

  local function released(record)
    if given_back[record.s] then
      return 'already_done'
    elseif not holding[record.s] then
      return 'wrong_state'
    end
    give_back(widen(record))
    log('released', record)
    return 'ok'
  end

  local function stopped(record)
    if record.s == 'cancelled' then
      return 'already_done'
    elseif record.s ~= 'running' or widen(record).cq ~= '1' then
      return 'wrong_state'
    end
    end_task(record, 'cancelled')
    log('stopped', record)
    return 'ok'
  end

  local steps = {completed = completed, failed = failed, released = released, stopped = stopped}

  local function step(at)
    local record = load(ARGV[at + 1], fields)
    if not record then
      return 'missing'
    elseif token_of(record) ~= ARGV[at + 2] then
      return record.s == 'expired' and 'expired' or 'fenced'
    end
    return steps[ARGV[at]](record, at)
  end
  return step, flush, outgoing
end

local channel = string.match(prefix, '^(mesh:{.*):[^:]*}:$') .. '}:hint:'
local lines, done, ended, undeadlined = {}, {}, {}, {}
local acked, unheld, told = {}, {}, {}
local call, now_text, terms = redis.call, whole(now), {}

local function add(map, name, item)
  local list = map[name]
  if list then
    list[#list + 1] = item
  else
    map[name] = {item}
  end
end

-- For how long the record of a task that completes is kept, and until when. As text: a number in a call is written with
-- seventeen digits, which costs several times as much.
local function terms_of(policy)
  local found = terms[policy]
  if not found then
    local kept = tonumber(string.match(policy, '^%d+,%d+,(%d+)'))
    found = {ttl = whole(kept + SLACK_MS), till = whole(now + kept)}
    terms[policy] = found
  end
  return found.ttl, found.till
end

-- Complete a running task that nobody else waits for, which nearly every ending does; nil if it is anything else.
local function complete(id, token, result)
  local key = prefix .. 't:' .. id
  local found = call('HMGET', key, 's', 'k', 'se', 'q', 'n', 'x', 'w', 'pol', 'i', 'ch')
  local entry, deadline, watchers, policy, idempotency = found[3], found[6], found[7], found[8], found[9]
  if found[1] ~= 'running' or found[2] ~= token or found[10] == '1' then
    return nil
  end
  local ttl, till = terms_of(policy or USUAL_POLICY)
  call('HSET', key, 's', 'completed', 'fi', now_text, 'res', result)
  call('PEXPIRE', key, ttl)
  lines[#lines + 1] = 'd' .. id .. '\t' .. token
  done[#done + 1] = id
  ended[#ended + 1] = till
  ended[#ended + 1] = id
  add(unheld, found[5], id)
  if entry and entry ~= '' then
    add(acked, found[4], entry)
  end
  if deadline and deadline ~= '' then
    undeadlined[#undeadlined + 1] = id
  end
  if idempotency then
    call('PEXPIRE', prefix .. 'idem:' .. idempotency, ttl)
  end
  if watchers then
    for topic in string.gmatch(watchers, '[^\n]+') do
      local is_short = #result <= TOLD_RESULT and not string.find(result, '^%c')
      add(told, topic, {task = id, state = 'completed', result = is_short and result or nil})
    end
  end
  return 'ok'
end

-- Take what completed out of the indexes, all of it with one command for each.
local function settle()
  redis.call('ZREM', prefix .. 'lease', unpack(done))
  redis.call('ZADD', prefix .. 'ended:completed', unpack(ended))
  for node, ids in pairs(unheld) do
    redis.call('SREM', prefix .. 'held:' .. node, unpack(ids))
  end
  for queue, entries in pairs(acked) do
    redis.call('XACK', prefix .. 'q:' .. queue, GROUP, unpack(entries))
    redis.call('XDEL', prefix .. 'q:' .. queue, unpack(entries))
  end
  if #undeadlined > 0 then
    redis.call('ZREM', prefix .. 'dl', unpack(undeadlined))
  end
  redis.call('HINCRBY', prefix .. 'counts', 'running', -#done)
  for topic, hints in pairs(told) do
    redis.call('PUBLISH', channel .. topic, cjson.encode(hints))
  end
  journal(lines)
  save_clock()
end

local sizes = {completed = 4, failed = 7, released = 3, stopped = 3}
local step, flush_steps, outgoing
local at = 2
while at <= #ARGV do
  local kind = ARGV[at]
  local answer = not step and kind == 'completed' and complete(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if not answer then
    if not step then
      step, flush_steps, outgoing = open_steps()
    end
    answer = step(at)
  end
  answers[#answers + 1] = answer
  at = at + sizes[kind]
end
if #done > 0 then
  settle()
end
if flush_steps then
  flush_steps()
  if outgoing[1] or redis.call('EXISTS', prefix .. 'outbox') == 1 then
    answers[#answers + 1] = 'settle'
  end
end
return answers
