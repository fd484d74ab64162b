-- Give a lease back and tell those who wait.
-- KEYS[1] lock
-- ARGV[1] owner, [2] epoch, [3] channel, [4] name of the lease
-- Returns 1, or 0 when this grant was lost before.
local lock = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if lock[1] ~= ARGV[1] or lock[2] ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
