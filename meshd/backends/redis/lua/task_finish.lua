-- task_finish: end holds in order: complete, fail, release or stop.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] per ending, one of: 'completed', id, token, result
--          'failed', id, token, kind, message, detail, wait before the retry in ms ('' = no retry)
--          'released', id, token
--          'stopped', id, token
--
-- Returns  one word per ending: 'ok' | 'already_done' | 'fenced' | 'expired' | 'wrong_state' | 'missing'
-- Cost     O(endings · log N)
-- #include "tasks"
local fields = {'s', 'k', 'se', 'x', 'q', 'pol', 'i', 'w', 'n'}
local given_back = {ready = true, scheduled = true, dead = true}
local holding = {claimed = true, running = true}

local function completed(record, at)
  if record.s == 'completed' then
    return 'already_done'
  elseif record.s ~= 'running' then
    return 'wrong_state'
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
local sizes = {completed = 4, failed = 7, released = 3, stopped = 3}
local answers = {}
local at = 2
while at <= #ARGV do
  local record = load(ARGV[at + 1], fields)
  local answer
  if not record then
    answer = 'missing'
  elseif token_of(record) ~= ARGV[at + 2] then
    answer = record.s == 'expired' and 'expired' or 'fenced'
  else
    answer = steps[ARGV[at]](record, at)
  end
  answers[#answers + 1] = answer
  at = at + sizes[ARGV[at]]
end
flush()
return answers
