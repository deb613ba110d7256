-- What scripts on logs share. KEYS: 1 log, 2 stream.

local function number(value)
  return string.format('%.0f', value)
end

-- The epoch, the offset of the newest message, and when the log's end was put off; nil when there is no log.
local function read_head()
  local head = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'renewed')
  local epoch, top = head[1], tonumber(head[2] or '')
  if epoch == false and head[2] == false then return nil, 0 end
  if epoch == false or top == nil or top < 0 or string.find(epoch, '[^%w]') then
    error('STARLING foreign data in ' .. KEYS[1])
  end
  return epoch, top, tonumber(head[3] or '')
end

-- Offsets go on for a while after the messages are gone: nobody who stayed is told of a gap that is none.
local KEPT_LONGER = 3600000

-- The log's end is put off when a quarter of its ttl has passed, not with every message: it is a quarter later, then.
-- Clocks of nodes differ, and may also be behind.
local function is_to_renew(renewed, now, ttl)
  return not renewed or math.abs(now - renewed) >= ttl / 4
end

local function renew(ttl)
  redis.call('PEXPIRE', KEYS[1], number(ttl * 1.25 + KEPT_LONGER))
  redis.call('PEXPIRE', KEYS[2], number(ttl * 1.25))
end
