-- memory_read: many items at once, up to a number of bytes.
-- #include "memory"
local PER_READ = 16

-- Hands each key with its item to `visit`; returns how many keys were visited.
local function read_items(keys, most_bytes, visit)
  local bytes, names, size = 0, {}, #keys
  for at, key in ipairs(keys) do
    names[at] = item_prefix .. key
  end
  for begin = 1, size, PER_READ do
    local last = math.min(begin + PER_READ - 1, size)
    for at, item in ipairs(call('MGET', unpack(names, begin, last))) do
      if item then
        visit(keys[begin + at - 1], item)
        bytes = bytes + #item
      end
    end
    if bytes >= most_bytes then
      return last
    end
  end
  return size
end
