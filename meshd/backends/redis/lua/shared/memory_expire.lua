-- memory_expire: have digest and indexes follow what expired, a few items at a time.
-- #include "memory_books"
local PER_STEP = 100

-- Returns whether there may be more.
local function expire(store)
  local due = call('ZRANGEBYSCORE', expiry_key, '-inf', whole(now), 'LIMIT', 0, PER_STEP)
  if #due == 0 then
    return false
  end
  local scores = call('ZMSCORE', changes_key, unpack(due))
  for at, key in ipairs(due) do
    local entry = read_entry(key, call('GET', item_prefix .. key))
    if entry.had == 0 then
      call('ZREM', expiry_key, key)
    else
      entry.due = entry.due or 0
      book(entry, tonumber(scores[at] or 0))
    end
  end
  save_sums()
  save_store(store)
  return #due == PER_STEP
end
