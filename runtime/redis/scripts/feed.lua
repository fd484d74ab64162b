-- Become the one who feeds and drives a run that was opened under a key.
-- KEYS[1] run record
-- ARGV[1] feeder, [2] driver, [3] feeder that is known to be gone, or ''
-- Returns 1, or 0 when somebody else feeds it, or its source has ended.
local run = redis.call('HMGET', KEYS[1], 'id', 'feeder', 'closed', 'finishedAt')
if not run[1] or run[3] == '1' or run[4] then return 0 end
if run[2] and run[2] ~= ARGV[1] and run[2] ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'feeder', ARGV[1], 'driver', ARGV[2])
return 1
