-- node_holders: return who holds all of some capabilities, and drop holders whose node is gone.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and incarnations; the keys of the nodes have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2…] capabilities, at least one
--
-- Returns  {holder, 'live' | 'silent', …}
-- Cost     O(holders of the rarest capability · capabilities)
-- #include "clock"
local keys = {}
for at = 2, #ARGV do
  keys[#keys + 1] = prefix .. 'cap:' .. ARGV[at]
end
local answers, gone = {}, {}
for _, member in ipairs(redis.call('SINTER', unpack(keys))) do
  local node = redis.call('HMGET', prefix .. 'node:' .. string.match(member, '^[^/]+'), 'doubt', 'died')
  if node[1] and not node[2] then
    answers[#answers + 1] = member
    answers[#answers + 1] = now <= tonumber(node[1]) and 'live' or 'silent'
  else
    gone[#gone + 1] = member
  end
end
for _, member in ipairs(gone) do
  for _, key in ipairs(keys) do
    redis.call('SREM', key, member)
  end
end
return answers
