-- What scripts on notes share: notes whose time is over go, a thousand at a time.
-- KEYS: 1 values, 2 names, 3 ends.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function forget_note(name)
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
end

local function sweep_notes()
  local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
  for _, name in ipairs(over) do forget_note(name) end
end
