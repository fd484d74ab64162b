-- A boot of a node is gone in order.
-- KEYS[1] members, [2] when each was seen, [3] boot of each node id, [4] those dead for good
-- ARGV[1] node id, [2] boot
local field = ARGV[1] .. ' ' .. ARGV[2]
-- Who is dead for good stays so: a late beat of it must not bring it back.
if redis.call('HEXISTS', KEYS[4], field) == 1 then return 0 end
redis.call('HDEL', KEYS[1], field)
redis.call('ZREM', KEYS[2], field)
if redis.call('HGET', KEYS[3], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[3], ARGV[1]) end
return 1
