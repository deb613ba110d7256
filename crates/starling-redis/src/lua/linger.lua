-- The connection of an entry was lost: it stays until then, and leaves if its user does not come back.
-- ARGV: 7 connection, 8 until in Unix ms. Returns 1 if the entry is there.
local entry = load(ARGV[7])
if not entry then return 0 end
if entry[1] and entry[4] == '0' then
  local list = lost_of(entry[1])
  list[#list + 1] = ARGV[7]
  set_lost(entry[1], list)
end
entry[4] = ARGV[8]
save(ARGV[7], entry)
return 1
