-- routes: which profiles serve which queues, and whose bell rings for new ready tasks.
-- #include "serves"
-- #include "bells"
local streams = {}
local registrations = {}
local retouched = {}
local rings = {}
local rung = {}
local drained = {}

local function route_of(queue)
  return string.match(queue, '^(.*):[^:]*$')
end

local function ready_key(place)
  return prefix .. (place == '' and 'ready' or ('ready:' .. place))
end

-- Whether the route keeps this node out, by a term `!node`: the one requirement that profiles leave open.
local function excludes(route, node)
  return string.find(route, '+!', 1, true) ~= nil and string.find(route .. '+', '+!' .. node .. '+', 1, true) ~= nil
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

local function node_of(claimer)
  return string.match(claimer, '^(.*):%d+:%x+$')
end

local function waiting_of(profile, waiting)
  local names = waiting[profile]
  if not names then
    names = redis.call('ZRANGEBYSCORE', prefix .. 'idle:' .. profile, '(' .. now, '+inf', 'LIMIT', 0, MAX_BATCH)
    names.is_all = #names < MAX_BATCH
    waiting[profile] = names
  end
  return names
end

local function ring(profile, claimer)
  rings[#rings + 1] = {profile = profile, claimer = claimer}
  rung[claimer] = true
end

-- Choose waiting claimers for `wanted` new tasks of a queue, those waiting longest first, each at most once.
local function plan_rings(queue, wanted, profiles, waiting)
  local route = route_of(queue)
  for _, profile in ipairs(profiles) do
    if wanted <= 0 then
      return
    end
    if serves_queue(profile, queue, route) then
      local names, at = waiting_of(profile, waiting), 1
      while wanted > 0 and names[at] do
        if rung[names[at]] then
          table.remove(names, at)
        elseif excludes(route, node_of(names[at])) then
          at = at + 1
        else
          ring(profile, table.remove(names, at))
          wanted = wanted - 1
        end
      end
      drained[profile] = names.is_all and #names == 0
    end
  end
end

-- Ring the one node a task is meant for, if it waits.
local function plan_ring_at(node, queue)
  local route = route_of(queue)
  for _, claimer in ipairs(redis.call('HKEYS', prefix .. 'wait:' .. node)) do
    local profile = string.match(claimer, '%x+$')
    local till = redis.call('ZSCORE', prefix .. 'idle:' .. profile, claimer)
    if till and tonumber(till) > now and serves_queue(profile, queue, route) then
      ring(profile, claimer)
      return
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
  local others = {}
  for _, news in pairs(woken) do
    plan_route(route_of(news.queue), seen)
    local node = string.match(news.place, '@(.*)$')
    if #profiles > 0 and node then
      plan_ring_at(node, news.queue)
    elseif #profiles > 0 then
      others[#others + 1] = news
    end
  end
  for _, news in ipairs(others) do
    plan_rings(news.queue, news.size, profiles, waiting)
  end
end

local function write_rings()
  for _, ring in ipairs(rings) do
    redis.call('ZREM', prefix .. 'idle:' .. ring.profile, ring.claimer)
    redis.call('HDEL', prefix .. 'wait:' .. node_of(ring.claimer), ring.claimer)
    ring_bell(ring.claimer)
  end
  for profile, is_empty in pairs(drained) do
    if is_empty then
      redis.call('ZREM', prefix .. 'idling', profile)
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
  for _, news in pairs(woken) do
    redis.call('ZADD', ready_key(news.place), 'LT', news.vt, news.queue)
  end
  write_rings()
end
