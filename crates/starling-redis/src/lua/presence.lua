-- What scripts on presence share.
-- KEYS: 1 here, 2 users, 3 lost, 4 version.
-- ARGV: 1 the start of owners' sets, 2 topic, 3 PUBLISH or SPUBLISH, 4 node, 5 token, 6 owner
--
-- An entry is {user or false, owner, revision, until or '0', data, aliases}. Aliases are connections under which those
-- who watch longer know the entry: its user came back within the time of grace, and nobody was told.
local MAX_ALIASES = 16

local function foreign(key)
  error('STARLING foreign data in ' .. key)
end

local function load(connection)
  local text = redis.call('HGET', KEYS[1], connection)
  if not text then return nil end
  local ok, entry = pcall(cmsgpack.unpack, text)
  if not ok or type(entry) ~= 'table' or #entry ~= 6 or type(entry[6]) ~= 'table' then foreign(KEYS[1]) end
  return entry
end

local function save(connection, entry)
  redis.call('HSET', KEYS[1], connection, cmsgpack.pack(entry))
end

-- Versions come from the clock, so that a set that was forgotten never repeats one.
local function next_version()
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local version = tonumber(redis.call('GET', KEYS[4]) or '0')
  if not version then foreign(KEYS[4]) end
  version = string.format('%.0f', math.max(version + 1, now))
  redis.call('SET', KEYS[4], version, 'PX', '3600000')
  return version
end

local function is_here(user)
  return user and redis.call('HEXISTS', KEYS[2], user) == 1
end

local function count(user, change)
  if not user then return end
  if redis.call('HINCRBY', KEYS[2], user, change) <= 0 then redis.call('HDEL', KEYS[2], user) end
end

-- Connections of the user that linger.
local function lost_of(user)
  local text = redis.call('HGET', KEYS[3], user)
  if not text then return {} end
  local ok, list = pcall(cmsgpack.unpack, text)
  if not ok or type(list) ~= 'table' then foreign(KEYS[3]) end
  return list
end

local function set_lost(user, list)
  if #list == 0 then
    redis.call('HDEL', KEYS[3], user)
  else
    redis.call('HSET', KEYS[3], user, cmsgpack.pack(list))
  end
end

local function no_longer_lost(connection, entry)
  if not entry[1] or entry[4] == '0' then return end
  local list = lost_of(entry[1])
  for i, lost in ipairs(list) do
    if lost == connection then
      table.remove(list, i)
      set_lost(entry[1], list)
      return
    end
  end
end

-- Removes the entry, and returns it.
local function take(connection)
  local entry = load(connection)
  if not entry then return nil end
  no_longer_lost(connection, entry)
  redis.call('HDEL', KEYS[1], connection)
  redis.call('SREM', ARGV[1] .. entry[2], connection)
  count(entry[1], -1)
  return entry
end

local function told(connection, entry)
  return {connection, entry[1], entry[5], entry[3]}
end

local function known_as(entry, connections, list)
  for _, connection in ipairs(connections) do
    list[#list + 1] = told(connection, entry)
  end
  return list
end

-- Tells the nodes, and returns what they are told.
local function tell(version, joins, leaves, replaced, users_in, users_out)
  local frame = '\1P' .. cmsgpack.pack({version, ARGV[4], ARGV[5], joins, leaves, replaced, users_in, users_out})
  redis.call(ARGV[3], ARGV[2], frame)
  return frame
end

-- Removes the entry, and returns who left, and the user if it was the last of its connections.
local function leave(connection, leaves, users_out)
  local entry = take(connection)
  if not entry then return end
  known_as(entry, entry[6], leaves)
  leaves[#leaves + 1] = told(connection, entry)
  if entry[1] and not is_here(entry[1]) then users_out[#users_out + 1] = entry[1] end
end
