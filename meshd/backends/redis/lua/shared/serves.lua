-- serves: whether what a claimer offers meets a route; the semantics of `routing.serves`, `!node` left open.
-- A decimal number and nothing else: Lua alone would read hexadecimal, exponents and infinity too.
local function number_in(text)
  local is_decimal = string.find(text, '^%-?%d+$') or string.find(text, '^%-?%d+%.%d+$')
  return is_decimal and tonumber(text) or nil
end

local function offer_of(spec)
  local offer = {types = {}, terms = {}, labels = {}}
  for _, name in ipairs(spec[1]) do
    offer.types[name] = true
    offer.terms[name] = true
  end
  for _, term in ipairs(spec[2]) do
    offer.terms[term] = true
    local label, value = string.match(term, '^([^=<>!]+)=(.*)$')
    if label then
      offer.labels[label] = value
    end
  end
  return offer
end

local comparisons = {
  ['>='] = function(held, asked) return held >= asked end,
  ['<='] = function(held, asked) return held <= asked end,
  ['>'] = function(held, asked) return held > asked end,
  ['<'] = function(held, asked) return held < asked end,
}

local function meets(offer, term)
  if offer.terms[term] or string.sub(term, 1, 1) == '!' then
    return true
  end
  local label, operator, asked = string.match(term, '^([%w][%w_.:%-]*)([!<>=]=?)([%w_.:%-]+)$')
  local held = label and offer.labels[label]
  if operator == '!=' then
    return held ~= asked
  end
  local compare = held and comparisons[operator]
  local held_number, asked_number = compare and number_in(held), compare and number_in(asked)
  return held_number ~= nil and asked_number ~= nil and compare ~= nil and compare(held_number, asked_number)
end

local function serves(spec, route)
  local offer, is_type = offer_of(spec), true
  for term in string.gmatch(route, '[^+]+') do
    if is_type and not offer.types[term] or not meets(offer, term) then
      return false
    end
    is_type = false
  end
  return true
end
