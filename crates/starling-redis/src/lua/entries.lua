-- What scripts that read entries of logs share.

local function offset_of(id)
  local offset = tonumber(string.match(id, '^(%d+)%-0$') or '')
  if offset == nil then error('STARLING foreign data in ' .. KEYS[2]) end
  return offset
end

local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
  error('STARLING foreign data in ' .. KEYS[2])
end

-- Removes messages that are older than ttl, the oldest first, at most so many hundreds of them.
local function forget(now, ttl, hundreds)
  -- Mostly there is nothing to do, and one look shows it.
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if not first or tonumber(field(first, 't')) + ttl > now then return end
  for _ = 1, hundreds do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 100)
    if #oldest == 0 then return end
    local keep_from = nil
    for _, entry in ipairs(oldest) do
      if tonumber(field(entry, 't')) + ttl > now then
        keep_from = entry[1]
        break
      end
    end
    if keep_from then
      redis.call('XTRIM', KEYS[2], 'MINID', keep_from)
      return
    end
    redis.call('XTRIM', KEYS[2], 'MINID', number(offset_of(oldest[#oldest][1]) + 1) .. '-0')
  end
end
