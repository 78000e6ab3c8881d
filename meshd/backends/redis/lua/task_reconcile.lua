-- task_reconcile: give back what a claimer holds without knowing it, one step of a scan.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  node id
-- ARGV[3]  incarnation
-- ARGV[4]  name of the claimer's bell: what was handed over and not read is given back too
-- ARGV[5]  cursor of the scan ('0' = begin)
-- ARGV[6…] per hold that is known: task id, token
--
-- Returns  {'ok', tasks given back, next cursor, '0' at the end}
-- Cost     O(holds known + 100 · log N)
-- #include "tasks"
local node, incarnation = ARGV[2], ARGV[3]
local known = {}
for at = 6, #ARGV, 2 do
  known[ARGV[at]] = ARGV[at + 1]
end
local page = redis.call('SSCAN', prefix .. 'held:' .. node, ARGV[5], 'COUNT', 100)
local moved = 0
for _, id in ipairs(page[2]) do
  local record = load(id, GUARD_FIELDS)
  local is_held = record and record.n == node and (record.s == 'claimed' or record.s == 'running')
  if not is_held then
    local list = bucket(unheld, node)
    list[#list + 1] = id
  elseif record.inc == incarnation and known[id] ~= token_of(record) then
    give_back(record)
    log('released', record)
    moved = moved + 1
  end
end
redis.call('DEL', prefix .. 'bell:' .. ARGV[4])
flush()
return {'ok', moved, page[1]}
