-- flush: write what the steps decided. First the last reads (new routes, waiting claimers), then only writes.
-- #include "routes"
local function variadic(command, key, members)
  if #members > 0 then
    redis.call(command, key, unpack(members))
  end
end

local function each(command, kind, buckets)
  for name, members in pairs(buckets) do
    redis.call(command, prefix .. kind .. name, unpack(members))
  end
end

local function append_fresh(queue, list)
  local stream = prefix .. 'q:' .. queue
  if not streams[queue] then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
  for _, record in ipairs(list) do
    local entry = redis.pcall('XADD', stream, record.v, 't', record.id)
    if type(entry) == 'table' then
      local member, vt = front_member(record)
      redis.call('ZADD', prefix .. 'front:' .. queue, vt, member)
      set(record, 'v', record.v)
      entry = ''
    end
    set(record, 'se', entry)
  end
end

local function write_records()
  for queue, list in pairs(fresh) do
    append_fresh(queue, list)
  end
  for _, record in ipairs(touched) do
    redis.call('HSET', task_key(record.id), unpack(record.changes, 1, record.size))
  end
  for _, retention in ipairs(retentions) do
    redis.call('PEXPIRE', task_key(retention.record.id), retention.ttl)
    if retention.record.i ~= '' then
      redis.call('PEXPIRE', prefix .. 'idem:' .. retention.record.i, retention.ttl)
    end
  end
  for _, record in ipairs(revived) do
    redis.call('PERSIST', task_key(record.id))
    if record.i ~= '' then
      redis.call('PERSIST', prefix .. 'idem:' .. record.i)
    end
  end
end

local function write_placings()
  for id, placing in pairs(placings) do
    local listed = prefix .. 'placed:' .. placing.node
    redis.call(placing.stays and 'SADD' or 'SREM', listed, id)
    if placing.opens then
      redis.call('ZADD', prefix .. 'backs', placing.opens, id)
    else
      redis.call('ZREM', prefix .. 'backs', id)
    end
  end
end

-- A queue of a place that ran empty leaves that place's index at once: its only visitor may never come again.
local function write_unfronted()
  for name, ids in pairs(unfronted) do
    redis.call('ZREM', prefix .. 'front:' .. name, unpack(ids))
    local queue, place = string.match(name, '^([^@~]*)(.*)$')
    if place ~= '' and redis.call('EXISTS', prefix .. 'front:' .. name) == 0 then
      redis.call('ZREM', ready_key(place), queue)
    end
  end
end

-- Additions go before removals: within one call a task may enter an index and leave it again, never the reverse.
local function write_indexes()
  variadic('ZADD', prefix .. 'lease', leases)
  variadic('ZADD', prefix .. 'sched', due)
  variadic('ZADD', prefix .. 'dl', deadlines)
  each('SADD', 'held:', held)
  each('ZADD', 'front:', fronts)
  each('ZADD', 'ended:', ended)
  variadic('ZREM', prefix .. 'lease', unleased)
  variadic('ZREM', prefix .. 'sched', undue)
  variadic('ZREM', prefix .. 'dl', undeadlined)
  each('SREM', 'held:', unheld)
  write_unfronted()
  each('ZREM', 'ended:', unended)
  for queue, entries in pairs(acked) do
    redis.call('XACK', prefix .. 'q:' .. queue, GROUP, unpack(entries))
    redis.call('XDEL', prefix .. 'q:' .. queue, unpack(entries))
  end
  for _, ended in ipairs(outgoing) do
    redis.call('ZADD', prefix .. 'outbox', 0, ended)
  end
  for state, change in pairs(counted) do
    if change ~= 0 then
      redis.call('HINCRBY', prefix .. 'counts', state, change)
    end
  end
end

local function publish_ends()
  local channel = string.match(prefix, '^(mesh:{.*):[^:]*}:$') .. '}:hint:'
  for topic, hints in pairs(told) do
    redis.call('PUBLISH', channel .. topic, cjson.encode(hints))
  end
end

-- Where nothing was due at any time, nodes sweep rarely: they are told of the first task that is.
local function plan_tidings()
  local opens = {}
  for id, placing in pairs(placings) do
    if placing.opens then
      opens[#opens + 1] = id
    end
  end
  for kind, added in pairs({sched = due, dl = deadlines, backs = opens}) do
    if #added > 0 and redis.call('EXISTS', prefix .. kind) == 0 then
      told[DUE_TOPIC] = {{}}
    end
  end
end

local function flush()
  plan_wakes()
  plan_tidings()
  local is_indexed = next(acked) or next(unheld) or next(placings)
  if #touched == 0 and #lines == 0 and #undue + #unleased + #undeadlined == 0 and not is_indexed then
    return
  end
  write_records()
  write_wakes()
  write_indexes()
  write_placings()
  journal(lines)
  publish_ends()
  save_clock()
end
