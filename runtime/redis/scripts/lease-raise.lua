-- Note the epoch of the newest grant of a lease in another slot than its own.
-- KEYS[1] epoch of the newest grant, as this slot knows it
-- ARGV[1] epoch of a grant
-- Returns the newest.
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known >= tonumber(ARGV[1]) then return known end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])
