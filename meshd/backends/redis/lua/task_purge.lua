-- task_purge: forget ended tasks now.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] task ids
--
-- Returns  one word per task: 'ok' | 'kept' | 'missing'
-- Cost     O(tasks · log N)
-- #include "tasks"
-- #include "ids"
local answers, gone, gone_keys = {}, {}, {}

local function forget(record)
  local list = bucket(unended, record.s)
  list[#list + 1] = record.id
  gone[#gone + 1] = record.id
  gone_keys[#gone_keys + 1] = task_key(record.id)
  local key = prefix .. 'idem:' .. record.i
  if record.i ~= '' and redis.call('GET', key) == record.id then
    gone_keys[#gone_keys + 1] = key
  end
  log('purged', record)
  records[record.id] = false
end

for at = 2, #ARGV do
  local record = load(ARGV[at], {'s', 'k', 'i'})
  if not record then
    answers[#answers + 1] = 'missing'
  elseif TERMINAL[record.s] then
    forget(record)
    answers[#answers + 1] = 'ok'
  else
    answers[#answers + 1] = 'kept'
  end
end
flush()
if #gone > 0 then
  redis.call('UNLINK', unpack(gone_keys))
end
forget_ids(gone)
return answers
