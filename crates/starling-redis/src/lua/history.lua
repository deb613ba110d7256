-- Reads a part of a log, which is made if it is not there. Returns {epoch, top, oldest, {{id, fields}, …}}; without
-- `after`, the newest first.
-- KEYS: 1 log, 2 stream.
-- ARGV: 1 limit, 2 before or '', 3 after or '', 4 size of the log, 5 its ttl in ms, 6 now in Unix ms,
--       7 an epoch to start with
local limit, size, ttl, now = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local epoch, top, renewed = read_head()
if not epoch then
  epoch = ARGV[7]
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', '0')
end
forget(now, ttl, 1000)
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local oldest = top + 1
if first and is_to_renew(renewed, now, ttl) then redis.call('HSET', KEYS[1], 'renewed', ARGV[6]) end
-- Where there is no stream yet, the first message gives it its end.
renew(ttl)
if first then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if offset_of(last[1]) ~= top then error('STARLING foreign data in ' .. KEYS[2]) end
  -- The stream is trimmed in steps, and may have more than it should.
  oldest = math.max(offset_of(first[1]), top - size + 1)
end
local from, to = oldest, top
if ARGV[3] ~= '' then from = math.max(from, tonumber(ARGV[3]) + 1) end
if ARGV[2] ~= '' then to = math.min(to, tonumber(ARGV[2]) - 1) end
local entries = {}
if limit > 0 and from <= to then
  from, to = number(from) .. '-0', number(to) .. '-0'
  if ARGV[3] ~= '' then
    entries = redis.call('XRANGE', KEYS[2], from, to, 'COUNT', ARGV[1])
  else
    entries = redis.call('XREVRANGE', KEYS[2], to, from, 'COUNT', ARGV[1])
  end
end
return {epoch, number(top), number(oldest), entries}
