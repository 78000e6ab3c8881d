-- node_sweep: judge silent nodes dead, and forget those dead for long.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node timeout, ms
-- ARGV[3]  how long a dead node stays listed, ms
-- ARGV[4]  most nodes of each kind
-- ARGV[5]  pause since the last beat or sweep from which silence proves nothing, ms
--
-- Returns  {'more' | 'all', node id, incarnation, …} of those judged by this call
-- Cost     O(limit · capabilities)
-- #include "nodes"
local timeout, retention, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local gap = tonumber(ARGV[5])
local grace = grace_after(gap, timeout)

local silent = {}
if now > grace then
  silent = redis.call('ZRANGEBYSCORE', beats_key, '-inf', '(' .. (now - timeout), 'LIMIT', 0, limit)
end
local forgotten = redis.call('ZRANGEBYSCORE', dead_key, '-inf', now, 'LIMIT', 0, limit)
local records = {}
for _, id in ipairs(silent) do
  records[id] = redis.call('HMGET', node_key(id), 'inc', 'holdings')
end

local answers = {(#silent == limit or #forgotten == limit) and 'more' or 'all'}
save_tick(grace)
for _, id in ipairs(silent) do
  local incarnation, holdings = records[id][1], records[id][2]
  redis.call('ZREM', beats_key, id)
  if incarnation then
    drop_holdings(holdings)
    redis.call('HSET', node_key(id), 'died', now, 'holdings', '')
    redis.call('PEXPIRE', node_key(id), retention + SLACK_MS)
    redis.call('ZADD', dead_key, now + retention, id)
    redis.call('PEXPIRE', dead_key, retention + SLACK_MS)
    note('dead', id, incarnation)
    answers[#answers + 1] = id
    answers[#answers + 1] = incarnation
  end
end
for _, id in ipairs(forgotten) do
  redis.call('DEL', node_key(id))
  redis.call('ZREM', dead_key, id)
end
return answers
