-- What scripts on logs share. KEYS: 1 log, 2 stream.

-- The epoch and the offset of the newest message, or nil when there is no log.
local function read_head()
  local head = redis.call('HMGET', KEYS[1], 'epoch', 'top')
  local epoch, top = head[1], tonumber(head[2] or '')
  if epoch == false and head[2] == false then return nil, 0 end
  if epoch == false or top == nil or top < 0 or string.find(epoch, '[^%w]') then
    error('STARLING foreign data in ' .. KEYS[1])
  end
  return epoch, top
end

local function number(value)
  return string.format('%.0f', value)
end

-- Offsets go on for a while after the messages are gone: nobody who stayed is told of a gap that is none.
local KEPT_LONGER = 3600000

local function keep(ttl)
  redis.call('PEXPIRE', KEYS[1], number(ttl + KEPT_LONGER))
end

local function offset_of(id)
  local offset = tonumber(string.match(id, '^(%d+)%-0$') or '')
  if offset == nil then error('STARLING foreign data in ' .. KEYS[2]) end
  return offset
end

local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
  error('STARLING foreign data in ' .. KEYS[2])
end

-- Removes messages that are older than ttl, the oldest first, at most so many hundreds of them.
local function forget(now, ttl, hundreds)
  for _ = 1, hundreds do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 100)
    if #oldest == 0 then return end
    local keep_from = nil
    for _, entry in ipairs(oldest) do
      if tonumber(field(entry, 't')) + ttl > now then
        keep_from = entry[1]
        break
      end
    end
    if keep_from == oldest[1][1] then return end
    if keep_from then
      redis.call('XTRIM', KEYS[2], 'MINID', keep_from)
      return
    end
    redis.call('XTRIM', KEYS[2], 'MINID', number(offset_of(oldest[#oldest][1]) + 1) .. '-0')
  end
end
