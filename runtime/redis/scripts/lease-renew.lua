-- Renew a grant of a lease.
-- KEYS[1] lock, [2] epoch of the newest grant
-- ARGV[1] owner, [2] epoch, [3] ttl in ms
-- Returns 1, or 0 when this grant is lost.
local lock = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if lock[1] ~= ARGV[1] or lock[2] ~= ARGV[2] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- Mends a counter that was lost.
redis.call('SET', KEYS[2], ARGV[2])
return 1
