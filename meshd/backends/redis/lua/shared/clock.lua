-- clock: one partition's time, fencing tokens and event numbers. KEYS[1] is its hash; ARGV[1] is the test clock or '',
-- then '@' and the generation the caller knows (generation.py), or nothing.
local clock_key = KEYS[1]
local prefix = string.sub(clock_key, 1, -6)

-- Every digit of an integer: plain `..` keeps only 14 of them, a token has 16.
local function whole(number)
  return string.format('%d', number)
end

-- Time never runs backwards, and never stands still: when the server's clock is set back, time goes on from the largest
-- seen, so far ahead of it (`meshd.clock.store_time`). How far is kept by the sweeps.
-- Returns nil when the caller knows another generation than the store.
local function read_clock(given)
  local kept = redis.call('HMGET', clock_key, 'now', 'fence', 'shift', 'seq', 'events', 'gen', 'chunk', 'ahead')
  if given ~= kept[6] and given ~= '' then
    local known
    given, known = string.match(given, '^(%d*)(.*)$')
    if known ~= '' and known ~= kept[6] then
      return nil
    end
  else
    given = ''
  end
  local us
  if given == '' then
    local time = redis.call('TIME')
    us = tonumber(time[1]) * 1000000 + tonumber(time[2])
  else
    us = tonumber(given) * 1000
  end
  local real, now, ahead = math.floor(us / 1000), tonumber(kept[1] or 0), 0
  if real < now then
    now = math.max(now, real + tonumber(kept[8] or 0))
    ahead = now - real
  else
    now = real
  end
  return {
    ahead = ahead,
    now = now,
    us = math.max(us, now * 1000),
    fence = tonumber(kept[2] or 0),
    shift = tonumber(kept[3] or 0),
    seq = tonumber(kept[4] or 0),
    events = tonumber(kept[5] or 0),
    chunk = kept[7],
    gen = kept[6],
  }
end

local clock = read_clock(ARGV[1])
if not clock then
  return redis.error_reply('REWOUND this is not the generation the caller knows')
end
local now = clock.now

-- The next fencing token: above every token before, also if the store lost its newest writes.
local function next_token(floor)
  clock.fence = math.max(clock.fence + 1, clock.us, floor + 1)
  return clock.fence
end

-- As text: a number in a call is written with seventeen digits, which costs several times as much.
local function save_clock()
  redis.call('HSET', clock_key, 'now', whole(now), 'fence', whole(clock.fence), 'seq', whole(clock.seq),
    'events', whole(clock.events))
end
