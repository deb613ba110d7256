-- Ends entries of a dead owner; those that linger become ours. Returns {what was told or '', {connection, until, …}
-- that are ours now, how many are left}.
-- ARGV: 7 the dead owner, 8 now in Unix ms, 9 how many entries at most
local leaves, users_out, adopted = {}, {}, {}
local set = ARGV[1] .. ARGV[7]
for _, connection in ipairs(redis.call('SRANDMEMBER', set, ARGV[9])) do
  local entry = load(connection)
  if not entry or entry[2] ~= ARGV[7] then
    redis.call('SREM', set, connection)
  elseif tonumber(entry[4]) > tonumber(ARGV[8]) then
    redis.call('SREM', set, connection)
    redis.call('SADD', ARGV[1] .. ARGV[6], connection)
    entry[2] = ARGV[6]
    save(connection, entry)
    adopted[#adopted + 1] = connection
    adopted[#adopted + 1] = entry[4]
  else
    leave(connection, leaves, users_out)
  end
end
local frame = ''
if #leaves > 0 then frame = tell(next_version(), {}, leaves, {}, {}, users_out) end
return {frame, adopted, redis.call('SCARD', set)}
