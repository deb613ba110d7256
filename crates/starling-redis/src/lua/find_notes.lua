-- Notes whose names start with a prefix. Returns {name, value, …}.
-- KEYS: 1 values, 2 names, 3 ends. ARGV: 1 prefix, 2 '1' to take them
sweep_notes()
-- Fails where something else stands there: that nothing was noted would not be true.
redis.call('HLEN', KEYS[1])
local from, to = '-', '+'
if ARGV[1] ~= '' then
  from, to = '[' .. ARGV[1], '[' .. ARGV[1] .. '\255'
end
local list = {}
for _, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], from, to)) do
  local value = redis.call('HGET', KEYS[1], name)
  local till = tonumber(redis.call('ZSCORE', KEYS[3], name) or '0')
  if value and till > now then
    list[#list + 1] = name
    list[#list + 1] = value
  end
  if not value or till <= now or ARGV[2] == '1' then forget_note(name) end
end
return list
