-- memory: items as they are stored, and the numbers kept of them. An item is its siblings in the order of their dots,
-- each as four bytes of length and the blob: two bytes of header length, the header, the body, the checksum. The
-- scripts are given versions, and keep them, with their length.
-- #include "clock"
-- #include "constants"
local store_key, keys_key, changes_key = prefix .. 'mem', prefix .. 'mkeys', prefix .. 'mrev'
local expiry_key, contested_key, gone_key = prefix .. 'mexp', prefix .. 'mcf', prefix .. 'mgone'
local item_prefix = prefix .. 'm:'
local call, unpack_fields, unpack_bytes = redis.call, cmsgpack.unpack_limit, struct.unpack
local sub, byte, concat, ipairs, unpack, tonumber = string.sub, string.byte, table.concat, ipairs, unpack, tonumber

-- The numbers of the whole store, and how far it has the actor of `field`. Its time never runs backwards.
local function read_store(field)
  local kept = call('HMGET', store_key, 'now', 'revision', 'items', 'bytes', 'quarantined', field)
  now = math.max(now, tonumber(kept[1] or 0))
  return {
    revision = tonumber(kept[2] or 0),
    items = tonumber(kept[3] or 0),
    bytes = tonumber(kept[4] or 0),
    has_quarantine = kept[5] and kept[5] ~= '0',
  }, tonumber(kept[6] or 0)
end

-- The name of the data set, which changes when somebody noticed that the store lost something.
local function generation()
  return sub(clock.gen or '@', 2)
end

-- Where the header's fields begin, counted from zero, in an item's version that begins at `at`, counted from one.
local function fields_at(data, at)
  local marker = byte(data, at + 6)
  return at + (marker == 0xdc and 8 or marker == 0xdd and 10 or 6)
end

-- An item as the scripts work on it; `data` is false if there is none. The digest counts no tombstones, and of the
-- versions that expire those whose time was not applied yet: from the item's `due` in the expiry index on. Local
-- versions weigh nothing in it.
local function read_entry(key, data)
  local siblings, at, expires = {}, 1, false
  local length = data and #data or 0
  while at <= length do
    local size = unpack_bytes('>I4', data, at) + 4
    local _, actor, seq, observed, ms, flags, ends = unpack_fields(data, 6, fields_at(data, at))
    expires = expires or ends > 0
    siblings[#siblings + 1] = {
      actor = actor,
      seq = seq,
      observed = observed,
      ms = ms,
      flags = flags,
      expires = ends,
      size = size,
      print = actor == LOCAL and 0 or unpack_bytes('>I6', data, at + size - 16),
      item = size == length and data or sub(data, at, at + size - 1),
      counted = flags % 2 == 0,
    }
    at = at + size
  end
  local due = expires and tonumber(call('ZSCORE', expiry_key, key) or nil) or nil
  local lived = false
  for _, sibling in ipairs(siblings) do
    if expires and sibling.expires > 0 then
      sibling.counted = sibling.counted and due ~= nil and sibling.expires >= due
    end
    lived = lived or sibling.counted
  end
  return {
    key = key,
    siblings = siblings,
    gone = {},
    due = due,
    lived = lived,
    was = length,
    had = #siblings,
  }
end

local function dots_of(siblings, answer)
  for _, sibling in ipairs(siblings) do
    local size = #answer
    answer[size + 1], answer[size + 2] = sibling.actor, sibling.seq
  end
  return answer
end
