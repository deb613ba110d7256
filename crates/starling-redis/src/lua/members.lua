-- Everyone who is present, and the version of the set. Returns {version, connection, entry, connection, entry, …}.
local version = redis.call('GET', KEYS[4]) or next_version()
local list = redis.call('HGETALL', KEYS[1])
table.insert(list, 1, version)
return list
