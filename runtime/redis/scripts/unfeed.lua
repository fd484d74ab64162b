-- The source of whoever feeds a run broke off.
-- KEYS[1] run record
-- ARGV[1] feeder
if redis.call('HGET', KEYS[1], 'feeder') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'feeder')
