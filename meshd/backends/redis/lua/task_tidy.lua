-- task_tidy: remove a few routes nobody used for long, profiles nobody claims with, and consumers of nodes long gone.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  after how long an empty route counts as unused, ms
--
-- Returns  {'ok', routes removed, profiles removed, consumers removed}
-- Cost     O(profiles), for at most 4 routes, 4 profiles and the consumers of one queue
-- #include "tasks"
local unused_ms = tonumber(ARGV[2])

local function is_empty(route)
  for _, priority in ipairs(PRIORITIES) do
    local queue = route .. ':' .. priority
    if redis.call('XLEN', prefix .. 'q:' .. queue) + redis.call('ZCARD', prefix .. 'front:' .. queue) > 0 then
      return false
    end
  end
  return true
end

local function remove_route(route, profiles)
  for _, priority in ipairs(PRIORITIES) do
    local queue = route .. ':' .. priority
    redis.call('DEL', prefix .. 'q:' .. queue)
    redis.call('HDEL', prefix .. 'cursors', queue)
    redis.call('ZREM', prefix .. 'ready', queue)
    for _, profile in ipairs(profiles) do
      redis.call('ZREM', prefix .. 'prof:' .. profile, queue)
    end
  end
  redis.call('ZREM', prefix .. 'routes', route)
end

local function stale_profiles()
  local stale = {}
  for _, profile in ipairs(redis.call('HRANDFIELD', prefix .. 'profiles', 4)) do
    if redis.call('EXISTS', prefix .. 'prof:' .. profile) == 0 then
      stale[#stale + 1] = profile
    end
  end
  return stale
end

local function idle_consumers()
  local queue = (redis.call('HRANDFIELD', prefix .. 'cursors', 1))[1]
  local stream = queue and prefix .. 'q:' .. queue
  local idle = {}
  if stream and redis.call('EXISTS', stream) == 1 then
    for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, GROUP)) do
      local consumer = {}
      for at = 1, #info, 2 do
        consumer[info[at]] = info[at + 1]
      end
      if consumer.pending == 0 and consumer.idle > unused_ms then
        idle[#idle + 1] = {stream = stream, name = consumer.name}
      end
    end
  end
  return idle
end

local unused, used = {}, {}
for _, route in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'routes', '-inf', now - unused_ms, 'LIMIT', 0, 4)) do
  local list = is_empty(route) and unused or used
  list[#list + 1] = route
end
local profiles, stale, idle = redis.call('HKEYS', prefix .. 'profiles'), stale_profiles(), idle_consumers()
for _, consumer in ipairs(idle) do
  redis.call('XGROUP', 'DELCONSUMER', consumer.stream, GROUP, consumer.name)
end
for _, route in ipairs(unused) do
  remove_route(route, profiles)
end
for _, route in ipairs(used) do
  redis.call('ZADD', prefix .. 'routes', now, route)
end
variadic('HDEL', prefix .. 'profiles', stale)
return {'ok', #unused, #stale, #idle}
