-- memory_cover: the node clock: per actor, up to which number every version was received.
-- #include "memory"
-- Most arguments one command gets.
local CHUNK = 1000

-- How far the store has each of the actors that are keys of `actors`.
local function read_seqs(actors)
  local names, known = {}, {}
  for actor in pairs(actors) do
    names[#names + 1] = actor
  end
  for begin = 1, #names, CHUNK do
    local fields, size = {}, 0
    for at = begin, math.min(begin + CHUNK - 1, #names) do
      size = size + 1
      fields[size] = '@' .. names[at]
    end
    for at, seq in ipairs(call('HMGET', store_key, unpack(fields))) do
      known[names[begin + at - 1]] = tonumber(seq or 0)
    end
  end
  return known
end

-- Raise the clock to cover another, but for the actors named in `refused`.
local function cover(other, refused)
  local known, changes = read_seqs(other), {}
  for actor, seq in pairs(other) do
    if seq > known[actor] and not refused[actor] then
      local size = #changes
      changes[size + 1], changes[size + 2] = '@' .. actor, whole(seq)
    end
    if #changes >= CHUNK then
      call('HSET', store_key, unpack(changes))
      changes = {}
    end
  end
  if #changes > 0 then
    call('HSET', store_key, unpack(changes))
  end
end
