-- waits: tasks that wait for the ends of others, their parents; what the end of one means to those that wait for it.
-- A blocked record names the parents it still waits for in `wf`; `kids:<parent>:<generation>` is the index made from that.
local waiting_on, relieved = {}, {}

local function kids_key(parent, generation)
  return prefix .. 'kids:' .. parent .. ':' .. (generation == '' and '0' or generation)
end

local function block(record, parents)
  set(record, 'wf', table.concat(parents, ' '))
  set(record, 's', 'blocked')
  count('blocked', 1)
  if is_placed(record) then
    placings[record.id] = {node = record.at, stays = true}
  end
end

-- The parents a blocked record waits for, as this call leaves them.
local function waits_of(record)
  local waits = waiting_on[record.id]
  if not waits then
    waits = {size = 0, is_left = {}}
    for parent in string.gmatch(record.wf, '%S+') do
      waits.is_left[parent] = true
      waits.size = waits.size + 1
    end
    waiting_on[record.id] = waits
  end
  return waits
end

-- Nothing holds it back but its delay. Its place is that of a task submitted now, among equals that of its submission.
local function unblock(record)
  withdraw(record)
  set(record, 'wf', '')
  local due_ms, _, order = number(record.d ~= '' and record.d or record.c), parts_of(record.v)
  if due_ms > now then
    schedule(record, due_ms)
  else
    if record.hb ~= '' then
      set(record, 'hb', number(record.hb) + now - due_ms)
    end
    set(record, 'd', now)
    queue_at_end(record, whole(now + OFFSETS[string.match(record.q, '[^:]*$')]) .. '-' .. whole(order))
  end
  log('unblocked', record)
end

-- A parent has ended. Anything but a blocked record that waits for it is left as it is: this may be heard twice.
local function settle(record, parent, state)
  local waits = record.s == 'blocked' and waits_of(record)
  if not waits or not waits.is_left[parent] then
    return false
  end
  if state ~= 'completed' and record.ra ~= '1' then
    raise_token(record)
    end_task(record, 'cancelled', 'task ' .. parent .. ', which it waited for, is ' .. state)
    log('cancelled', record)
    return true
  end
  waits.is_left[parent] = nil
  waits.size = waits.size - 1
  relieved[record.id] = record
  if waits.size == 0 then
    unblock(record)
  end
  return true
end

-- Write what those still blocked wait for now, once for each, however many of its parents this call heard of.
local function save_waits()
  for id, record in pairs(relieved) do
    local left = {}
    for parent in string.gmatch(record.wf, '%S+') do
      if waiting_on[id].is_left[parent] then
        left[#left + 1] = parent
      end
    end
    if record.wf ~= '' then
      set(record, 'wf', table.concat(left, ' '))
    end
  end
end
