-- Forgets messages that are too old, at most a thousand.
-- ARGV: 1 ttl in ms, 2 now in Unix ms
forget(tonumber(ARGV[2]), tonumber(ARGV[1]), 10)
return 1
