-- Removes an entry. Returns what was told, or ''.
-- ARGV: 7 connection
local leaves, users_out = {}, {}
leave(ARGV[7], leaves, users_out)
if #leaves == 0 then return '' end
return tell(next_version(), {}, leaves, {}, {}, users_out)
