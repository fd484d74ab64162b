-- Put an envelope of a paused run from its mailbox back to those that wait for their turn.
-- KEYS[1] run record, [2] parked envelopes, [3] room of all mailboxes, [4] room held by the run
-- ARGV[1] channel, [2] run id, [3] id of the envelope, [4] its mailbox, [5] tasks in it,
--   [6] the envelope (JSON)
-- Returns 1, also when it was done before, or 0 when the run is not paused.
local run = redis.call('HMGET', KEYS[1], 'state', 'hold', 'done')
local done = KEYS[2] .. ':ids'
if redis.call('SISMEMBER', done, ARGV[3]) == 1 then return 1 end
if run[2] ~= 'paused' then return 0 end
redis.call('SADD', done, ARGV[3])
redis.call('RPUSH', KEYS[2], ARGV[6])
redis.call('HINCRBY', KEYS[1], 'spooled', ARGV[5])
redis.call('HINCRBY', KEYS[3], ARGV[4], -ARGV[5])
redis.call('HINCRBY', KEYS[4], ARGV[4], -ARGV[5])
local words = { ARGV[2], run[3], run[1], run[2], ARGV[4], ARGV[5], 0 }
redis.call('PUBLISH', ARGV[1], table.concat(words, ' '))
return 1
