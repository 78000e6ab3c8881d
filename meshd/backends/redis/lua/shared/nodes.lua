-- nodes: guards of a membership, the capability index, and the event of each transition.
-- #include "log"
local beats_key, dead_key = prefix .. 'beats', prefix .. 'dead'

local function node_key(id)
  return prefix .. 'node:' .. id
end

-- Incarnations have 16 digits, which cjson would round, so the number is put in as text.
local function note(verb, id, incarnation, status)
  local body = '{"event":' .. cjson.encode(verb) .. ',"node":' .. cjson.encode(id) .. ',"incarnation":' .. incarnation
  if status then
    body = body .. ',"status":' .. cjson.encode(status)
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
