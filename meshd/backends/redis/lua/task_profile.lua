-- task_profile: make a claimer's profile known and match it with every route, once.
--
-- KEYS[1]  hash  mesh:{ns:p0}:clock     time, tokens and event numbers; the keys of the tasks have the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  name of the profile
-- ARGV[3]  JSON array: array of task types, array of terms offered
--
-- Returns  {'ok'}
-- Cost     O(routes)
-- #include "tasks"
local profile_key = prefix .. 'prof:' .. ARGV[2]
local spec = cjson.decode(ARGV[3])
local known = redis.call('ZRANGE', prefix .. 'routes', 0, -1)
redis.call('HSET', prefix .. 'profiles', ARGV[2], ARGV[3])
redis.call('ZADD', profile_key, 0, '')
for _, route in ipairs(known) do
  if serves(spec, route) then
    for _, priority in ipairs(PRIORITIES) do
      redis.call('ZADD', profile_key, 0, route .. ':' .. priority)
    end
  end
end
redis.call('PEXPIRE', profile_key, PROFILE_TTL_MS)
return {'ok'}
