-- memory_write: write the items that versions changed, keep what they superseded, and tell of it.
-- #include "memory_join"
-- #include "memory_books"
-- Above this a message says only that there was a change.
local MESSAGE_BYTES = 65536

-- A history has two elements for each version: when it went, and the version, apart, since to join long strings costs as
-- much as to keep them. It is cut and its life renewed now and then, not as often as it grows.
local function keep_history(entry, limits)
  local gone = entry.gone
  if limits.history == 0 or not gone[1] then
    return
  end
  local key, kept, is_old = prefix .. 'mh:' .. entry.key, {}, false
  for at = math.max(1, #gone - limits.history + 1), #gone do
    local version, size = gone[at], #kept
    kept[size + 1], kept[size + 2] = version.item, limits.since
    is_old = is_old or version.ms < limits.renewed
  end
  local length = call('LPUSH', key, unpack(kept))
  if length >= limits.history * 3 then
    call('LTRIM', key, '0', limits.history_end)
  end
  if is_old or length == #kept then
    call('PEXPIRE', key, limits.history_ttl)
  end
end

local function item_of(siblings)
  if not siblings[2] then
    return siblings[1].item
  end
  local parts = {}
  for at, sibling in ipairs(siblings) do
    parts[at] = sibling.item
  end
  return concat(parts)
end

local function tell(items, from, store, is_wanted)
  local first = concat({generation(), whole(from), whole(store.revision), is_wanted and '1' or '0'}, ' ') .. '\n'
  local size = 0
  for _, item in ipairs(items) do
    size = size + #item
  end
  local body = size > MESSAGE_BYTES and sub(first, 1, -2) or first .. concat(items)
  call('PUBLISH', string.match(prefix, '^(mesh:{.*):[^:]*}:$') .. '}:mem', body)
end

-- `keys` names the entries in the order they were met; more fields of the store's hash may be written along.
local function write_entries(entries, keys, store, limits, from, is_wanted, ...)
  local pairs_of, fresh, changed, items = {}, {}, {}, {}
  for _, key in ipairs(keys) do
    local entry = entries[key]
    if entry.is_changed then
      local item, size, told = item_of(entry.siblings), #pairs_of, #items
      pairs_of[size + 1], pairs_of[size + 2] = item_prefix .. key, item
      if entry.revision then
        items[told + 1] = item
        changed[2 * told + 1], changed[2 * told + 2] = whole(entry.revision), key
      end
      if entry.had == 0 then
        local count = #fresh
        fresh[count + 1], fresh[count + 2] = '0', key
      end
    end
  end
  if #pairs_of > 0 then
    call('MSET', unpack(pairs_of))
    if #items > 0 then
      call('ZADD', changes_key, unpack(changed))
    end
    if #fresh > 0 then
      call('ZADD', keys_key, unpack(fresh))
    end
    for _, key in ipairs(keys) do
      local entry = entries[key]
      if entry.is_changed then
        book(entry, entry.revision or 0)
        keep_history(entry, limits)
      end
    end
    save_sums()
  end
  save_store(store, ...)
  if #items > 0 then
    tell(items, from, store, is_wanted)
  end
end
