-- event_append: append one event to a log and tell whoever listens.
--
-- KEYS[1]  hash  mesh:{ns:*}:clock      event numbers of the log's partition; the log has the same prefix
-- ARGV[1]  now, ms ('' = server clock)
-- ARGV[2]  log
-- ARGV[3]  body, JSON
--
-- Returns  number of the event
-- Cost     O(1)
-- #include "append"
redis.call('HSET', clock_key, 'now', now)
return append_event(ARGV[2], ARGV[3])
