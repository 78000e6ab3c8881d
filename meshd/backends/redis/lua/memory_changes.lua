-- memory_changes: return the items changed after a revision, in the order of their last change.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  revision
-- ARGV[3]  most items
-- ARGV[4]  most bytes of items
--
-- Returns  {generation, revision reached, 'more' | 'all', item, …}
-- Cost     O(log items + items returned)
-- #include "memory_read"
local limit = tonumber(ARGV[3])
local store = read_store('')
local found = call('ZRANGEBYSCORE', changes_key, '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local keys = {}
for at = 1, math.min(limit, #found / 2) do
  keys[at] = found[2 * at - 1]
end
local answers = {generation(), whole(store.revision), 'all'}
local seen = read_items(keys, tonumber(ARGV[4]), function(_, item)
  answers[#answers + 1] = item
end)
if 2 * seen < #found then
  answers[2], answers[3] = found[2 * seen], 'more'
end
return answers
