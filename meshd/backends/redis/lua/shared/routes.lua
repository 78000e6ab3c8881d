-- routes: which profiles serve which queues, and whose bell rings for new ready tasks.
local streams = {}
local registrations = {}
local retouched = {}
local rings = {}
local drained = {}

local function route_of(queue)
  return string.match(queue, '^(.*):[^:]*$')
end

-- The semantics of `routing.serves`: a handler for the type, and every capability held.
local function serves(spec, route)
  local has = {}
  local first = true
  for _, name in ipairs(spec[1]) do
    has[name] = 'type'
  end
  for _, name in ipairs(spec[2]) do
    has[name] = has[name] or 'capability'
  end
  for name in string.gmatch(route, '[^+]+') do
    if has[name] == nil or (first and has[name] ~= 'type') then
      return false
    end
    first = false
  end
  return true
end

local function match_profiles(route)
  local known = redis.call('HGETALL', prefix .. 'profiles')
  for at = 1, #known, 2 do
    local profile = prefix .. 'prof:' .. known[at]
    if serves(cjson.decode(known[at + 1]), route) and redis.call('EXISTS', profile) == 1 then
      registrations[#registrations + 1] = {profile = profile, route = route}
    end
  end
end

-- Find out whether a route is known; a new one is matched with every profile, once.
local function plan_route(route, seen)
  if seen[route] ~= nil then
    return
  end
  local used = redis.call('ZSCORE', prefix .. 'routes', route)
  seen[route] = used or false
  if not used then
    match_profiles(route)
  end
  if not used or now - tonumber(used) > ROUTE_REFRESH_MS then
    retouched[#retouched + 1] = now
    retouched[#retouched + 1] = route
  end
end

local function serves_queue(profile, queue, route)
  if redis.call('ZSCORE', prefix .. 'prof:' .. profile, queue) then
    return true
  end
  for _, new in ipairs(registrations) do
    if new.route == route and new.profile == prefix .. 'prof:' .. profile then
      return true
    end
  end
  return false
end

-- Choose waiting claimers for `wanted` new tasks of a queue, those waiting longest first, each at most once.
local function plan_rings(queue, wanted, profiles, waiting)
  local route = route_of(queue)
  for _, profile in ipairs(profiles) do
    if wanted <= 0 then
      return
    end
    if serves_queue(profile, queue, route) then
      local names = waiting[profile]
      if not names then
        names = redis.call('ZRANGEBYSCORE', prefix .. 'idle:' .. profile, '(' .. now, '+inf', 'LIMIT', 0, MAX_BATCH)
        waiting[profile] = names
      end
      while wanted > 0 and #names > 0 do
        rings[#rings + 1] = {profile = profile, claimer = table.remove(names, 1)}
        wanted = wanted - 1
      end
      drained[profile] = #names == 0
    end
  end
end

local function plan_wakes()
  if next(woken) == nil then
    return
  end
  local seen, waiting = {}, {}
  for queue, list in pairs(fresh) do
    streams[queue] = redis.call('EXISTS', prefix .. 'q:' .. queue) == 1
  end
  local profiles = redis.call('ZRANGEBYSCORE', prefix .. 'idling', '(' .. now, '+inf', 'LIMIT', 0, 64)
  for queue, news in pairs(woken) do
    plan_route(route_of(queue), seen)
    if #profiles > 0 then
      plan_rings(queue, news.size, profiles, waiting)
    end
  end
end

local function write_wakes()
  for _, new in ipairs(registrations) do
    for _, priority in ipairs(PRIORITIES) do
      redis.call('ZADD', new.profile, 0, new.route .. ':' .. priority)
    end
  end
  if #retouched > 0 then
    redis.call('ZADD', prefix .. 'routes', unpack(retouched))
  end
  for queue, news in pairs(woken) do
    redis.call('ZADD', prefix .. 'ready', 'LT', news.vt, queue)
  end
  for _, ring in ipairs(rings) do
    local bell = prefix .. 'bell:' .. ring.claimer
    redis.call('ZREM', prefix .. 'idle:' .. ring.profile, ring.claimer)
    redis.call('RPUSH', bell, 1)
    redis.call('PEXPIRE', bell, BELL_MS)
  end
  for profile, empty in pairs(drained) do
    if empty then
      redis.call('ZREM', prefix .. 'idling', profile)
    end
  end
end
