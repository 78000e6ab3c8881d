-- memory_history: return the versions of a key that are not current any more, those that went last first.
--
-- KEYS[1]  hash  mesh:{ns:c}:clock      time and tokens; the keys of the memory have the same prefix
-- ARGV[1]  clock argument, as for every script
-- ARGV[2]  key
-- ARGV[3]  most versions
-- ARGV[4]  how long they are kept, ms
--
-- Returns  {version, …}
-- Cost     O(versions)
-- #include "memory"
read_store('')
local answers = {}
local kept = call('LRANGE', prefix .. 'mh:' .. ARGV[2], '0', whole(2 * tonumber(ARGV[3]) - 1))
for at = 1, #kept, 2 do
  if tonumber(kept[at]) > now - tonumber(ARGV[4]) then
    answers[#answers + 1] = sub(kept[at + 1], 5)
  end
end
return answers
