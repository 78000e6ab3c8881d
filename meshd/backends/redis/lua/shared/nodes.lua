-- nodes: guards of a membership, the capability index, and the event of each transition.
-- #include "append"
local beats_key, dead_key = prefix .. 'beats', prefix .. 'dead'

local function node_key(id)
  return prefix .. 'node:' .. id
end

-- Incarnations have 16 digits, which cjson would round, so the number is put in as text.
local function note(verb, id, incarnation, status, by)
  local body = '{"event":' .. cjson.encode(verb) .. ',"node":' .. cjson.encode(id) .. ',"incarnation":' .. incarnation
  if status then
    body = body .. ',"status":' .. cjson.encode(status)
  end
  if by then
    body = body .. ',"by":' .. cjson.encode(by)
  end
  append_event('nodes', body .. '}')
end

-- nil when the record is alive under this incarnation, else the answer to give.
local function refusal(record, incarnation)
  local current, died = record[1], record[2]
  if current and tonumber(current) > tonumber(incarnation) then
    return {'fenced', current}
  elseif not current or current ~= incarnation or died then
    return {'missing'}
  end
  return nil
end

local function each_holding(holdings, act)
  for capability, member in string.gmatch(holdings or '', '([^\t\n]+)\t([^\n]+)') do
    act(prefix .. 'cap:' .. capability, member)
  end
end

local function drop_holdings(holdings)
  each_holding(holdings, function(key, member)
    redis.call('SREM', key, member)
  end)
end

local function add_holdings(holdings, ttl)
  each_holding(holdings, function(key, member)
    redis.call('SADD', key, member)
    redis.call('PEXPIRE', key, ttl)
  end)
end

-- The times at which a node came back, with this one, as far as they are remembered.
local function with_flap(flaps)
  local kept = {whole(now)}
  for at in string.gmatch(flaps or '', '%d+') do
    if tonumber(at) > now - FLAP_WINDOW_MS and #kept < MAX_FLAPS then
      kept[#kept + 1] = at
    end
  end
  return table.concat(kept, ' ')
end

-- When somebody last beat or swept, and until when silence proves nothing, as `grace_after` reads them.
local ticks

-- Until when silence proves nothing: if nobody beat or swept for longer than `gap`, the store itself may have been away
-- and beats lost with it, so everybody gets as long again, at most one timeout.
local function grace_after(gap, timeout)
  ticks = redis.call('HMGET', clock_key, 'node_tick', 'node_grace')
  local tick, grace = tonumber(ticks[1] or now), tonumber(ticks[2] or 0)
  if now - tick > gap then
    return math.max(grace, now + math.min(now - tick, timeout))
  end
  return grace
end

-- Of the many beats of one millisecond the first says it all.
local function save_tick(grace)
  local at = whole(now)
  if at == ticks[1] and clock.ahead == 0 and whole(grace) == ticks[2] then
    return
  end
  redis.call('HSET', clock_key, 'now', at, 'ahead', whole(clock.ahead), 'node_tick', at, 'node_grace', whole(grace))
end
