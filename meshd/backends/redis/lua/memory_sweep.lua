-- memory_sweep: forget silent members, apply expiry, and collect items that are gone for every member.
--
-- An item is collected as a whole, once none of its siblings is live, the node clock covers all they have observed, and
-- every member has their last change: what might come late is then known to be old.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  life of a silent member, ms
-- ARGV[3]  revision up to which items were looked at in this round (-1 = none yet; local items have 0)
--
-- Returns  {'more' | 'done', versions collected, revision looked at}
-- Cost     O(100 × log items)
-- #include "memory_expire"
-- #include "memory_cover"
local members_key, seen_key = prefix .. 'mmem', prefix .. 'mseen'
local store = read_store('')
local silent = call('ZRANGEBYSCORE', seen_key, '-inf', whole(now - tonumber(ARGV[2])), 'LIMIT', 0, PER_STEP)
if #silent > 0 then
  call('ZREM', seen_key, unpack(silent))
  call('ZREM', members_key, unpack(silent))
  call('HDEL', prefix .. 'mstate', unpack(silent))
end
if #silent == PER_STEP or expire(store) then
  return {'more', 0, ARGV[3]}
end

local function is_covered(entry)
  local needed = {}
  for _, sibling in ipairs(entry.siblings) do
    sibling.observed[sibling.actor] = sibling.seq
    for actor, seq in pairs(sibling.observed) do
      needed[actor] = math.max(seq, needed[actor] or 0)
    end
  end
  needed[LOCAL] = nil
  local known = read_seqs(needed)
  for actor, seq in pairs(needed) do
    if known[actor] < seq then
      return false
    end
  end
  return true
end

local least = call('ZRANGE', members_key, 0, 0, 'WITHSCORES')
local stable = least[2] or '+inf'
local found = call('ZRANGEBYSCORE', gone_key, '(' .. ARGV[3], stable, 'WITHSCORES', 'LIMIT', 0, PER_STEP)
local collected = 0
for at = 1, #found, 2 do
  local key = found[at]
  local entry = read_entry(key, call('GET', item_prefix .. key))
  if entry.had == 0 then
    call('ZREM', gone_key, key)
  elseif is_covered(entry) then
    collected = collected + entry.had
    remove(entry, store)
  end
end
if collected > 0 then
  save_sums()
  save_store(store)
end
return {#found == 2 * PER_STEP and 'more' or 'done', collected, found[#found] or ARGV[3]}
