-- task_reclaim: take back what old incarnations of a node hold, and open what is placed on it; one step of a scan.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  newest incarnation to take from
-- ARGV[4]  cursor of the scan ('0' = begin)
--
-- Returns  {'ok', tasks taken back, next cursor, '0' at the end, 'more' | 'all' of what is placed}
-- Cost     O(100 · log N)
-- #include "tasks"
local node, newest = ARGV[2], tonumber(ARGV[3])

-- Nobody waits for work as an incarnation that is over: what comes next is neither rung nor handed over to it.
local function forget_waiting()
  for _, claimer in ipairs(redis.call('HKEYS', prefix .. 'wait:' .. node)) do
    local incarnation, profile = string.match(claimer, ':(%d+):(%x+)$')
    if tonumber(incarnation) <= newest then
      redis.call('ZREM', prefix .. 'idle:' .. profile, claimer)
      redis.call('HDEL', prefix .. 'wait:' .. node, claimer)
    end
  end
end

forget_waiting()
local page = redis.call('SSCAN', prefix .. 'held:' .. node, ARGV[4], 'COUNT', 100)
local moved = 0
for _, id in ipairs(page[2]) do
  local record = load(id, GUARD_FIELDS)
  local is_held = record and record.n == node and (record.s == 'claimed' or record.s == 'running')
  if not is_held then
    local list = bucket(unheld, node)
    list[#list + 1] = id
  elseif number(record.inc) <= newest then
    reclaim(record, GONE)
    moved = moved + 1
  end
end
local listed = redis.call('SRANDMEMBER', prefix .. 'placed:' .. node, 100)
for _, id in ipairs(listed) do
  local record = load(id, GUARD_FIELDS)
  local waits = record and (record.s == 'ready' or record.s == 'scheduled' or record.s == 'blocked')
  if waits and record.at == node and is_placed(record) then
    open_to_all(record)
  else
    placings[id] = {node = node}
  end
end
flush()
return {'ok', moved, page[1], #listed == 100 and 'more' or 'all'}
