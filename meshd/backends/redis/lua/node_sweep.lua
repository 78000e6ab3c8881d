-- node_sweep: judge silent nodes suspect, partitioned or dead, and forget those dead for long.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node timeout, ms
-- ARGV[3]  how long a dead node stays listed, ms
-- ARGV[4]  most nodes of each kind
-- ARGV[5]  pause since the last beat or sweep from which silence proves nothing, ms
--
-- Returns  {'more' | 'all', node id, incarnation, …} of those this call judged dead
-- Cost     O(limit · capabilities)
-- #include "nodes"
local timeout, retention, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local gap = tonumber(ARGV[5])
local grace = grace_after(gap, timeout)

local silent = {}
if now > grace then
  silent = redis.call('ZRANGEBYSCORE', beats_key, '-inf', '(' .. whole(now), 'LIMIT', 0, limit)
end
local forgotten = redis.call('ZRANGEBYSCORE', dead_key, '-inf', now, 'LIMIT', 0, limit)
local records = {}
for _, id in ipairs(silent) do
  records[id] = redis.call('HMGET', node_key(id), 'inc', 'holdings', 'bound', 'vouched', 'vouched_by', 'mark')
end

local function mark(id, record, verb, by)
  if record[6] ~= verb then
    redis.call('HSET', node_key(id), 'mark', verb)
    note(verb, id, record[1], nil, by)
  end
end

local function bury(id, record)
  redis.call('ZREM', beats_key, id)
  drop_holdings(record[2])
  redis.call('HSET', node_key(id), 'died', now, 'holdings', '')
  redis.call('PEXPIRE', node_key(id), retention + SLACK_MS)
  redis.call('ZADD', dead_key, now + retention, id)
  redis.call('PEXPIRE', dead_key, retention + SLACK_MS)
  note('dead', id, record[1])
end

local answers = {(#silent == limit or #forgotten == limit) and 'more' or 'all'}
save_tick(grace)
for _, id in ipairs(silent) do
  local record = records[id]
  local bound, trusted = tonumber(record[3] or 0), tonumber(record[4] or 0) + timeout
  if not record[1] then
    redis.call('ZREM', beats_key, id)
  elseif now <= trusted then
    mark(id, record, 'partitioned', record[5])
    redis.call('ZADD', beats_key, whole(trusted), id)
  elseif now <= bound then
    mark(id, record, 'suspect')
    redis.call('ZADD', beats_key, whole(bound), id)
  else
    bury(id, record)
    answers[#answers + 1] = id
    answers[#answers + 1] = record[1]
  end
end
for _, id in ipairs(forgotten) do
  redis.call('DEL', node_key(id))
  redis.call('ZREM', dead_key, id)
end
return answers
