-- memory_history: return the versions of keys that are not current any more, those that went last first.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  most versions of a key
-- ARGV[3]  how long they are kept, ms
-- ARGV[4]  most bytes of versions
-- ARGV[5…]  keys
--
-- Returns  {{version, …}, …}  for the first keys, one at least: as many as fit
-- Cost     O(keys + versions)
-- #include "memory"
read_store('')
local last, since, most_bytes = whole(2 * tonumber(ARGV[2]) - 1), now - tonumber(ARGV[3]), tonumber(ARGV[4])
local answers, bytes = {}, 0
for place = 5, #ARGV do
  local kept, versions = call('LRANGE', prefix .. 'mh:' .. ARGV[place], '0', last), {}
  for at = 1, #kept, 2 do
    if tonumber(kept[at]) > since then
      versions[#versions + 1] = sub(kept[at + 1], 5)
      bytes = bytes + #kept[at + 1]
    end
  end
  answers[#answers + 1] = versions
  if bytes >= most_bytes then
    break
  end
end
return answers
