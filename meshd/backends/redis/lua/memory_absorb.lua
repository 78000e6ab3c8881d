-- memory_absorb: take versions of any actors, each by itself, and tell of the change.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  limits, MessagePack (memory_limits)
-- ARGV[3]  node clock to be covered afterwards, MessagePack: actor → seq ('' = none)
-- ARGV[4]  the only generation to take them into ('' = any)
-- ARGV[5…]  versions, each after its length in four bytes
--
-- Returns  {reply…}: 'applied' | {'sibling' | 'obsolete' | 'known', actor, seq, …} | {'refused', why}
-- Cost     O(versions × log items + actors of the clock)
-- #include "memory_write"
-- #include "memory_limits"
-- #include "memory_cover"
local store = read_store('')
local limits = read_limits(ARGV[2])
local before, versions, actors, refused, replies = store.revision, {}, {}, {}, {}
if ARGV[4] ~= '' and ARGV[4] ~= generation() then
  for at = 5, #ARGV do
    replies[at - 4] = {'refused', 'fenced'}
  end
  return replies
end
for at = 5, #ARGV do
  local version = read_version(ARGV[at])
  versions[at - 4] = version
  actors[version.actor] = true
end
local known = read_seqs(actors)
local entries, keys = read_entries(versions)
for at, version in ipairs(versions) do
  local entry, word = entries[version.key], 'known'
  local why = refusal_of(version, store, limits)
  if not why and known[version.actor] < version.seq then
    word = take(entry, version, store, limits)
    why = word == 'full' and word
  end
  if why then
    refused[version.actor] = true
    replies[at] = {'refused', why}
  else
    replies[at] = word == 'applied' and word or dots_of(entry.siblings, {word})
  end
end
if next(entries) then
  write_entries(entries, keys, store, limits, before, false)
end
if ARGV[3] ~= '' then
  cover(cmsgpack.unpack(ARGV[3]), refused)
end
return replies
