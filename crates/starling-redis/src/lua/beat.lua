-- Renews the lease of a node. Returns {'new', 'late' or 'in time', owners whose leases are over}.
-- KEYS: 1 nodes. ARGV: 1 owner, 2 lease in ms
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local state = 'in time'
if not known then
  state = 'new'
elseif tonumber(known) < now then
  return {'late', {}}
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
return {state, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, 100)}
