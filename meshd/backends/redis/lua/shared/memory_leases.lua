-- memory_leases: actors that are lent. `mact`: when each lease ends, 0 once the actor was given back; `mlent`: its token.
-- #include "memory"
local ends_key, tokens_key = prefix .. 'mact', prefix .. 'mlent'

local function seq_of(actor)
  return call('HGET', store_key, '@' .. actor) or '0'
end

-- Lent actors are of one generation: what a store that went back forgot, their numbers would be used for again.
local function family()
  return '~lent-' .. string.format('%x', tonumber(generation()) or 0) .. '-'
end

local function is_of_family(actor)
  return sub(actor, 1, #family()) == family()
end
