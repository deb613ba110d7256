-- Adds an entry, or replaces the data of the one with the same connection. Returns what was told, or ''.
-- ARGV: 7 connection, 8 user or '', 9 '1' if there is a user, 10 data, 11 '1': again, after it may have been lost
local connection, data = ARGV[7], ARGV[10]
local user = ARGV[9] == '1' and ARGV[8]
local old = load(connection)
if ARGV[11] == '1' and old and old[1] == user and old[5] == data then
  if old[2] ~= ARGV[6] or old[4] ~= '0' then
    no_longer_lost(connection, old)
    redis.call('SREM', ARGV[1] .. old[2], connection)
    redis.call('SADD', ARGV[1] .. ARGV[6], connection)
    old[2], old[4] = ARGV[6], '0'
    save(connection, old)
  end
  return ''
end
local was_here = is_here(user)
local old_user = old and old[1]
local before, before_connection = take(connection), connection
if not before and user then
  local lost = lost_of(user)[1]
  if lost then
    before, before_connection = take(lost), lost
  end
end
local aliases, silent = {}, false
if before then
  aliases = before[6]
  if before_connection ~= connection then
    silent = before[5] == data
    aliases[#aliases + 1] = before_connection
  end
end
silent = silent and #aliases <= MAX_ALIASES
local gone = {}
if not silent then gone, aliases = aliases, {} end
local version = next_version()
local entry = {user, ARGV[6], version, '0', data, aliases}
count(user, 1)
save(connection, entry)
redis.call('SADD', ARGV[1] .. ARGV[6], connection)
if silent then return '' end
local users_in, users_out, replaced = {}, {}, {}
if user and not was_here then users_in[1] = user end
if old_user and old_user ~= user and not is_here(old_user) then users_out[1] = old_user end
if old then replaced[1] = told(connection, old) end
return tell(version, {told(connection, entry)}, known_as(entry, gone, {}), replaced, users_in, users_out)
