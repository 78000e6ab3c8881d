-- task_reclaim: take back what old incarnations of a node hold, one step of a scan.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  newest incarnation to take from
-- ARGV[4]  cursor of the scan ('0' = begin)
--
-- Returns  {'ok', tasks moved, next cursor, '0' at the end}
-- Cost     O(100 · log N)
-- #include "tasks"
local node, newest = ARGV[2], tonumber(ARGV[3])
local page = redis.call('SSCAN', prefix .. 'held:' .. node, ARGV[4], 'COUNT', 100)
local moved = 0
for _, id in ipairs(page[2]) do
  local record = load(id, GUARD_FIELDS)
  local is_held = record and record.n == node and (record.s == 'claimed' or record.s == 'running')
  if not is_held then
    local list = bucket(unheld, node)
    list[#list + 1] = id
  elseif number(record.inc) <= newest then
    reclaim(record)
    moved = moved + 1
  end
end
flush()
return {'ok', moved, page[1]}
