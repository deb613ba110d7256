-- Whether this user may write under our names, and whether the server takes it.
-- KEYS: 1 a key for this alone. ARGV: 1 'all': try the kinds of keys that there are, too
local key = KEYS[1]
-- First: a full server lets a script go on once it has written anything.
redis.call('SET', key, '', 'PX', 1000)
if ARGV[1] == 'all' then
  local kinds = {{'HSET', key, 'a', '1'}, {'XADD', key, '*', 'a', '1'}, {'ZADD', key, '1', 'a'}, {'SADD', key, 'a'}}
  for _, kind in ipairs(kinds) do
    redis.call('UNLINK', key)
    redis.call(unpack(kind))
  end
  redis.call('SET', key, '', 'PX', 1000)
end
return 1
