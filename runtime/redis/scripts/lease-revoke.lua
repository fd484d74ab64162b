-- Take a lease away from whoever holds it and tell those who wait.
-- KEYS[1] lock
-- ARGV[1] channel, [2] name of the lease
-- Returns {holder, epoch, since, ms it had left}, or nothing when nobody held it.
local lock = redis.call('HMGET', KEYS[1], 'holder', 'epoch', 'since')
if not lock[1] then return false end
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return { lock[1], lock[2], lock[3], left }
