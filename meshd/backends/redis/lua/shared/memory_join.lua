-- memory_join: what becomes of a version in an item: the rules of `meshd.memory.joining`, and the limits of the store.
-- #include "memory"
local function read_version(item)
  local _, actor, seq, observed, ms, flags, expires, key = unpack_fields(item, 7, fields_at(item, 1))
  local size = #item
  return {
    actor = actor,
    seq = seq,
    observed = observed,
    ms = ms,
    flags = flags,
    expires = expires,
    key = key,
    size = size,
    print = actor == LOCAL and 0 or unpack_bytes('>I6', item, size - 15),
    item = item,
    counted = false,
  }
end

local function read_entries(versions)
  local entries, keys, names = {}, {}, {}
  for _, version in ipairs(versions) do
    local key = version.key
    if not entries[key] then
      entries[key] = true
      keys[#keys + 1] = key
      names[#names + 1] = item_prefix .. key
    end
  end
  if #keys > 0 then
    local found = call('MGET', unpack(names))
    for at, key in ipairs(keys) do
      entries[key] = read_entry(key, found[at])
    end
  end
  return entries, keys
end

local function observes(version, other)
  if version.actor == other.actor then
    return version.seq > other.seq
  end
  return (version.observed[other.actor] or 0) >= other.seq
end

-- By bytes: Lua compares strings by the server's locale.
local function is_before(version, other)
  local one, two = version.actor, other.actor
  if one == two then
    return version.seq < other.seq
  end
  for at = 1, math.min(#one, #two) do
    local left, right = byte(one, at), byte(two, at)
    if left ~= right then
      return left < right
    end
  end
  return #one < #two
end

-- Whether a version has its place in an item, or why not; and what it leaves of the siblings and what it supersedes.
local function weigh_in(siblings, version)
  local left, gone, growth = {}, {}, version.size
  for _, kept in ipairs(siblings) do
    if observes(version, kept) then
      gone[#gone + 1], growth = kept, growth - kept.size
    elseif observes(kept, version) then
      return 'obsolete'
    elseif kept.seq == version.seq and kept.actor == version.actor then
      return 'known'
    else
      left[#left + 1] = kept
    end
  end
  return nil, left, gone, growth
end

local function has_shared(siblings)
  for _, sibling in ipairs(siblings) do
    if sibling.actor ~= LOCAL then
      return true
    end
  end
  return false
end

-- Takes a version whose dot the node clock does not cover. `store` has the totals as they will be.
local function take(entry, version, store, limits)
  local siblings, why = entry.siblings, nil
  local kept, left, gone, growth = siblings[1], {}, siblings, version.size
  if kept and (siblings[2] or not observes(version, kept)) then
    why, left, gone, growth = weigh_in(siblings, version)
    if why then
      return why
    end
  elseif kept then
    growth = growth - kept.size
  end
  local items = store.items + (kept and 0 or 1)
  if (not kept and items > limits.items) or (growth > 0 and store.bytes + growth > limits.bytes) then
    return 'full'
  end
  for _, each in ipairs(gone) do
    entry.gone[#entry.gone + 1] = each
  end
  local place = #left + 1
  while place > 1 and is_before(version, left[place - 1]) do
    place = place - 1
  end
  table.insert(left, place, version)
  store.items, store.bytes = items, store.bytes + growth
  entry.siblings, entry.is_changed = left, true
  if version.actor ~= LOCAL or has_shared(siblings) then
    store.revision = store.revision + 1
    entry.revision = store.revision
  end
  return left[2] and 'sibling' or 'applied'
end
