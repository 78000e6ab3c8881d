-- memory_drop: remove items and their history where these are exactly their siblings.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  MessagePack: {key, {actor, seq, … of its siblings in their order}, …}
--
-- Returns  how many were removed
-- Cost     O(keys × log items)
-- #include "memory_books"
local store, removed, wanted = read_store(''), 0, cmsgpack.unpack(ARGV[2])
for at = 1, #wanted, 2 do
  local key, dots = wanted[at], wanted[at + 1]
  local entry = read_entry(key, call('GET', item_prefix .. key))
  if entry.had > 0 and concat(dots_of(entry.siblings, {}), ' ') == concat(dots, ' ') then
    remove(entry, store)
    call('DEL', prefix .. 'mh:' .. key)
    removed = removed + 1
  end
end
if removed > 0 then
  save_sums()
  save_store(store)
end
return removed
