-- store_generation: say which generation a partition is in, and begin a new one if the caller knows more than it.
--
-- KEYS[1]  hash  mesh:{ns:*}:clock      tokens and generation of the partition
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  generation the caller knows (0 = none)
-- ARGV[3]  highest token the caller has seen
-- ARGV[4]  run of the server now
--
-- Returns  {'same' | 'rewound', generation, fence, last token known before what is lost}
-- Cost     O(1)
local GAPS = 8
local clock_key, known, seen, run = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local kept = redis.call('HMGET', clock_key, 'gen', 'born', 'fence', 'run', 'gaps', 'now')
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local given = tonumber(string.match(ARGV[1], '^%d+')) or math.floor(now_us / 1000)
local generation = kept[1] and tonumber(string.sub(kept[1], 2))
local born, fence = tonumber(kept[2] or 0), tonumber(kept[3] or 0)

local function whole(number)
  return string.format('%.0f', number)
end

-- A gap: tokens between these two were given out, if at all, by a server process whose last writes are lost.
local gaps = {}
for base, top in string.gmatch(kept[5] or '', '(%d+)-(%d+)') do
  gaps[#gaps + 1] = {base = tonumber(base), top = tonumber(top)}
end
if generation and kept[4] ~= run then
  local top = math.max(given * 1000, tonumber(kept[6] or 0) * 1000, fence) + 1000
  gaps[#gaps + 1] = {base = fence, top = top}
  fence = top
end
if #gaps > GAPS then
  table.remove(gaps, 1)
end

local rewound, last = false, 0
if not generation then
  rewound = known > 0
  born = rewound and 0 or now_us
elseif known > 0 then
  for _, gap in ipairs(gaps) do
    if gap.base < seen and seen < gap.top then
      last = rewound and math.min(last, gap.base) or gap.base
      rewound, gap.base = true, seen
    end
  end
  -- Emptied, and used since by somebody who never knew what was there before.
  if known < born then
    rewound, born, last = true, 0, 0
  elseif known > generation and not rewound then
    rewound, last = true, gaps[#gaps] and gaps[#gaps].base or fence
  end
end
if not generation or rewound then
  generation = math.max(now_us, (generation or 0) + 1, known + 1)
end
fence = math.max(fence, seen)
local told = {}
for at, gap in ipairs(gaps) do
  told[at] = whole(gap.base) .. '-' .. whole(gap.top)
end
redis.call('HSET', clock_key, 'gen', '@' .. whole(generation), 'born', whole(born), 'fence', whole(fence), 'run', run,
  'gaps', table.concat(told, ' '))
return {rewound and 'rewound' or 'same', whole(generation), whole(fence), whole(last)}
