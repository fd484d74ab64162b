-- Who holds a lease.
-- KEYS[1] lock
-- Returns {holder, epoch, since, ms it has left}, or nothing when nobody does.
local lock = redis.call('HMGET', KEYS[1], 'holder', 'epoch', 'since')
if not lock[1] then return false end
return { lock[1], lock[2], lock[3], redis.call('PTTL', KEYS[1]) }
