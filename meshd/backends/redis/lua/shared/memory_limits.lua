-- memory_limits: what a store takes, and why it refuses a version before it looks at the item.
-- #include "memory"
local quarantine_key = prefix .. 'mq'

-- The six numbers of `MemoryLimits` that concern a write, as MessagePack in this order. Lives of histories are renewed
-- once in an eighth of their time: by the first that supersedes a version written before.
local function read_limits(packed)
  local _, version, items, bytes, drift, history, history_ttl = unpack_fields(packed, 6, 0)
  local part = math.ceil(history_ttl / 8)
  return {
    version = version,
    items = items,
    bytes = bytes,
    drift = drift,
    history = history,
    history_end = whole(2 * history - 1),
    history_ttl = whole(history_ttl + part),
    renewed = math.floor(now / part) * part,
    since = whole(now),
  }
end

local function is_quarantined(version)
  local fields = {unpack_fields(version.item, 13, fields_at(version.item, 1))}
  local named = call('HMGET', quarantine_key, fields[14], string.match(version.actor, '^[^~]*'))
  return named[1] or named[2]
end

-- Returns nil if nothing speaks against the version itself.
local function refusal_of(version, store, limits)
  if store.has_quarantine and is_quarantined(version) then
    return 'quarantined'
  elseif version.size > limits.version + 4 or #version.key > MAX_KEY_BYTES then
    return 'too_large'
  elseif version.ms > now + limits.drift then
    return 'future'
  end
  return nil
end
