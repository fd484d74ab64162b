-- Note who begins an attempt at a task that must not run twice: the first to ask.
-- KEYS[1] run record, [2] outcome map, [3] who has begun which attempt at which task
-- ARGV[1] seq, [2] attempt, [3] who asks
-- Returns who that is, or nil when nobody is to begin it any more: it has an outcome, or its run is
--   over.
local finishedAt, id = unpack(redis.call('HMGET', KEYS[1], 'finishedAt', 'id'))
if finishedAt then return false end
-- Of a run that nobody opened there is nothing to go by.
if not id then return ARGV[3] end
local byte = math.floor(ARGV[1] / 2)
local both = redis.call('GETRANGE', KEYS[2], byte, byte):byte(1) or 0
local code = ARGV[1] % 2 == 0 and math.floor(both / 16) or both % 16
if code ~= 0 then return false end
local field = ARGV[1] .. '.' .. ARGV[2]
redis.call('HSETNX', KEYS[3], field, ARGV[3])
return redis.call('HGET', KEYS[3], field)
