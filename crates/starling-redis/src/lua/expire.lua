-- Removes an entry that has lingered long enough. Returns what was told, or ''.
-- ARGV: 7 connection, 8 now in Unix ms
local entry = load(ARGV[7])
if not entry or entry[4] == '0' or tonumber(entry[4]) > tonumber(ARGV[8]) then return '' end
local leaves, users_out = {}, {}
leave(ARGV[7], leaves, users_out)
return tell(next_version(), {}, leaves, {}, {}, users_out)
