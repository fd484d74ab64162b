-- Take a dead boot off the list of those to be swept; it cannot come back from now on.
-- KEYS[1] when each was seen, [2] boot of each node id, [3] those dead for good
-- ARGV[1] node id, [2] boot, [3] silence after which one is dead, ms
-- Returns 1, or 0 when there is nothing to sweep: somebody else has, or it is not dead.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local field = ARGV[1] .. ' ' .. ARGV[2]
local seen = redis.call('ZSCORE', KEYS[1], field)
local dead = redis.call('HGET', KEYS[3], field)
if not seen or dead == 'swept' then return 0 end
if not dead and now - tonumber(seen) <= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[3], field, 'swept')
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[2], ARGV[1]) end
return 1
