-- Forgets a log and starts a new epoch, of which nodes are told. Returns the epoch in force.
-- KEYS: 1 log, 2 stream. ARGV: 1 the new epoch, 2 topic, 3 PUBLISH or SPUBLISH, 4 the epoch that must be in force, or ''
local known = redis.call('HGET', KEYS[1], 'epoch')
if ARGV[4] ~= '' and known ~= ARGV[4] then return known or '' end
local left = redis.call('PTTL', KEYS[1])
if left < KEPT_LONGER then left = KEPT_LONGER end
redis.call('UNLINK', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'top', '0')
redis.call('HDEL', KEYS[1], 'renewed')
redis.call('PEXPIRE', KEYS[1], number(left))
if ARGV[2] ~= '' then redis.call(ARGV[3], ARGV[2], '\1C' .. ARGV[1]) end
return ARGV[1]
