-- Keep a value under a lease, if the newest grant that is known is the writer's.
-- KEYS[1] lock, [2] epoch of the newest grant, [3] values
-- ARGV[1] epoch of the writer, [2] key, [3] value
-- Returns nothing, or the newest epoch (0: none is known) when it was refused.
local counted = redis.call('GET', KEYS[2]) or '0'
local held = redis.call('HGET', KEYS[1], 'epoch') or '0'
local newest = tonumber(counted) > tonumber(held) and counted or held
if newest ~= ARGV[1] then return newest end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
return false
