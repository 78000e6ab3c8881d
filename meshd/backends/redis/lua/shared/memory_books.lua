-- memory_books: the digest and the indexes that go with items, written with as few calls as there are kinds of change.
-- #include "memory"
-- Beyond this a sum of fingerprints, each under 2^48, could lose digits.
local EXACT = 2251799813685248
-- Most arguments one command gets.
local MOST = 4000
local sums = {'OVERFLOW', 'WRAP'}

local function save_sums()
  if #sums > 2 then
    call('BITFIELD', prefix .. 'mdg', unpack(sums))
    sums = {'OVERFLOW', 'WRAP'}
  end
end

local function add_prints(entry, change)
  entry.bucket = entry.bucket or '#' .. tonumber(sub(redis.sha1hex(entry.key), 1, 3), 16)
  local size = #sums
  sums[size + 1], sums[size + 2], sums[size + 3], sums[size + 4] = 'INCRBY', 'i64', entry.bucket, whole(change)
  if size > MOST then
    save_sums()
  end
end

-- What the digest changes by, how many siblings are live, and when the first of them expires.
local function weigh(entry)
  local change, living, due = 0, 0, nil
  for _, sibling in ipairs(entry.gone) do
    if sibling.counted then
      change = change - sibling.print
    end
  end
  for _, sibling in ipairs(entry.siblings) do
    local expires = sibling.expires
    local is_live = sibling.flags % 2 == 0 and (expires == 0 or expires > now)
    if is_live then
      living = living + 1
      if expires > 0 then
        due = math.min(due or expires, expires)
      end
    end
    if is_live ~= sibling.counted then
      change = change + (is_live and sibling.print or -sibling.print)
    end
    if change > EXACT or change < -EXACT then
      add_prints(entry, change)
      change = 0
    end
  end
  if change ~= 0 then
    add_prints(entry, change)
  end
  return living, due
end

-- Whether a live version that never expires took the place of another, or of none: nothing but the digest changes.
local function is_usual(entry)
  local only = entry.siblings[1]
  return only and not entry.siblings[2] and only.expires == 0 and only.flags % 2 == 0 and not only.counted and
    not entry.gone[2] and not entry.due and entry.had < 2 and (entry.lived or entry.had == 0)
end

-- Have digest and indexes follow what became of an item, as of now.
local function book(entry, revision)
  local key = entry.key
  if is_usual(entry) then
    local old = entry.gone[1]
    add_prints(entry, entry.siblings[1].print - (old and old.counted and old.print or 0))
    return
  end
  local living, due = weigh(entry)
  if due and due ~= entry.due then
    call('ZADD', expiry_key, whole(due), key)
  elseif entry.due and not due then
    call('ZREM', expiry_key, key)
  end
  if living > 1 then
    call('ZADD', contested_key, '0', key)
  elseif entry.had > 1 then
    call('ZREM', contested_key, key)
  end
  if living == 0 and #entry.siblings > 0 then
    call('ZADD', gone_key, whole(revision), key)
  elseif entry.had > 0 and not entry.lived then
    call('ZREM', gone_key, key)
  end
end

local function save_store(store, ...)
  call('HSET', store_key, 'now', whole(now), 'revision', whole(store.revision), 'items', whole(store.items),
    'bytes', whole(store.bytes), ...)
end

-- Forget an item: its key, and its place in every index.
local function remove(entry, store)
  entry.gone, entry.siblings = entry.siblings, {}
  book(entry)
  call('DEL', item_prefix .. entry.key)
  call('ZREM', keys_key, entry.key)
  call('ZREM', changes_key, entry.key)
  store.items, store.bytes = store.items - 1, store.bytes - entry.was
end
