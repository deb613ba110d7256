-- Keeps a note. Returns 1, or 0 when there are too many.
-- KEYS: 1 values, 2 names, 3 ends. ARGV: 1 name, 2 value, 3 ttl in ms, 4 how many at most
sweep_notes()
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('ZADD', KEYS[3], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
return 1
