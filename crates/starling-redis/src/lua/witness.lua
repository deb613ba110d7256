-- What the log has at a place that a node remembers. Returns {epoch or '', top, message or ''}.
-- KEYS: 1 log, 2 stream. ARGV: 1 offset
local epoch, top = read_head()
local entry = redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', ARGV[1] .. '-0')[1]
return {epoch or '', number(top), entry and field(entry, 'm') or ''}
