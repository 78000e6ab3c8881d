-- memory_push: take an actor's next versions in order, all of them or none, and tell of the change.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  actor
-- ARGV[3]  first number of the batch
-- ARGV[4]  last number of the batch
-- ARGV[5]  token of the actor's lease (0 = the actor is the caller's own)
-- ARGV[6]  prefix whose master writes ('' = none is needed)
-- ARGV[7]  epoch of that master
-- ARGV[8]  '1' if replicas are to report at once
-- ARGV[9]  limits, MessagePack (memory_limits)
-- ARGV[10]  conditions, MessagePack: key → {actor, seq, …} ('' = none)
-- ARGV[11…]  versions, each after its length in four bytes
--
-- Returns  {'ok' | 'gap' | 'refused', generation, revision, seq, reply…}; a reply is a word, or {word, …}:
--          'applied' | {'sibling' | 'obsolete' | 'known' | 'conflict', actor, seq, …} | {'refused', why}; with 'refused'
--          also 'known', and 'conflict' for a version that nothing is wrong with
-- Cost     O(versions × log items)
-- #include "memory_write"
-- #include "memory_limits"
-- #include "memory_leases"
local actor, first, last, token = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local master, epoch, is_wanted = ARGV[6], ARGV[7], ARGV[8] == '1'
local store, seq = read_store('@' .. actor)
local before, limits = store.revision, read_limits(ARGV[9])

local function is_fenced()
  if token ~= '0' or sub(actor, 1, 6) == '~lent-' then
    if not is_of_family(actor) or call('HGET', tokens_key, actor) ~= token then
      return true
    end
  end
  if master == '' then
    return false
  end
  local held = call('HMGET', prefix .. 'mlead:' .. master, 'epoch', 'ends')
  return held[1] ~= epoch or tonumber(held[2]) <= now
end

local function answer(word, replies)
  return {word, generation(), whole(store.revision), whole(seq), unpack(replies)}
end

local function all_refused(why)
  local replies = {}
  for at = 11, #ARGV do
    replies[at - 10] = {'refused', why}
  end
  return answer('refused', replies)
end

-- Whether these are exactly the siblings of an item that are live; both in the order of their dots.
local function holds(siblings, wanted)
  local at = 1
  for _, sibling in ipairs(siblings) do
    if sibling.flags % 2 == 0 and (sibling.expires == 0 or sibling.expires > now) then
      if wanted[at] ~= sibling.actor or wanted[at + 1] ~= sibling.seq then
        return false
      end
      at = at + 2
    end
  end
  return wanted[at] == nil
end

if is_fenced() then
  return all_refused('fenced')
elseif first > seq + 1 then
  return answer('gap', {})
end

local versions, words, faults, has_faults = {}, {}, {}, false
for at = 11, #ARGV do
  versions[at - 10] = read_version(ARGV[at])
end
local entries, keys = read_entries(versions)
local conditions = ARGV[10] ~= '' and cmsgpack.unpack(ARGV[10]) or {}
for at, version in ipairs(versions) do
  if version.seq > seq then
    local siblings, wanted = entries[version.key].siblings, conditions[version.key]
    local why = refusal_of(version, store, limits)
    if wanted and not holds(siblings, wanted) then
      faults[at], has_faults = dots_of(siblings, {'conflict'}), true
    elseif why then
      faults[at], has_faults = {'refused', why}, true
    end
  end
end
if not has_faults then
  for at, version in ipairs(versions) do
    words[at] = version.seq > seq and take(entries[version.key], version, store, limits) or 'known'
    if words[at] == 'full' then
      faults[at], has_faults = {'refused', 'full'}, true
    end
  end
end

local replies = {}
for at, version in ipairs(versions) do
  local siblings = entries[version.key].siblings
  if has_faults then
    replies[at] = faults[at] or (version.seq <= seq and 'known' or 'conflict')
  elseif words[at] == 'applied' and siblings[1] == version and not siblings[2] then
    replies[at] = 'applied'
  else
    replies[at] = dots_of(siblings, {words[at]})
  end
end
if has_faults then
  store.revision = before
  return answer('refused', replies)
elseif last > seq then
  seq = last
  write_entries(entries, keys, store, limits, before, is_wanted, '@' .. actor, whole(seq))
end
return answer('ok', replies)
