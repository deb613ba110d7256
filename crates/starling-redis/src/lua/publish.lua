-- Takes a message: de-duplicates, assigns the offset, keeps, publishes. Returns 'epoch offset', or '' without a log.
-- KEYS: 1 log, 2 stream, 3 answer to its id.
-- ARGV: 1 body, 2 topic, 3 PUBLISH or SPUBLISH, 4 size of the log (0: none), 5 its ttl in ms, 6 an epoch to start with,
--       7 how long the id is remembered in ms (0: not), 8 the message's time in Unix ms
local size, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
if ARGV[7] ~= '0' then
  local answer = redis.call('GET', KEYS[3])
  if answer then return answer end
end
local answer, frame = '', '\1m'
if size > 0 then
  local now = tonumber(ARGV[8])
  local epoch, top, renewed = read_head()
  if not epoch then
    epoch = ARGV[6]
    redis.call('UNLINK', KEYS[2])
  end
  top = top + 1
  local offset = number(top)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-0', 't', ARGV[8], 'm', ARGV[1])
  if is_to_renew(renewed, now, ttl) then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', offset, 'renewed', ARGV[8])
    renew(ttl)
  else
    redis.call('HSET', KEYS[1], 'top', offset)
  end
  answer = epoch .. ' ' .. offset
  frame = '\1M' .. answer .. ' '
end
redis.call(ARGV[3], ARGV[2], frame .. ARGV[1])
if ARGV[7] ~= '0' then redis.call('SET', KEYS[3], answer, 'PX', ARGV[7]) end
return answer
