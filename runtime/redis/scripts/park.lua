-- Put an envelope back from its mailbox to those that wait for their turn: its run is paused, or it
-- would overtake others of its ordered mailbox that were put back before it.
-- KEYS[1] run record, [2] parked envelopes, [3] room of all mailboxes, [4] room held by the run,
--   [5] what was put back and is to be moved again, [6] seqs of those put back, of its mailbox
-- ARGV[1] channel, [2] run id, [3] id of the envelope, [4] its mailbox, [5] tasks in it,
--   [6] the envelope (JSON), [7] its first seq, [8] '1' when its mailbox is ordered
-- Returns 1, also when it was done before, or 0 when it is to be run.
local run = redis.call('HMGET', KEYS[1], 'state', 'hold', 'done')
local ids = KEYS[2] .. ':ids'
if redis.call('SISMEMBER', ids, ARGV[3]) == 1 then return 1 end
local isPaused = run[2] == 'paused'
if not isPaused then
  -- A run that is stopped has nothing that order matters for.
  if run[2] or ARGV[8] ~= '1' then return 0 end
  if redis.call('ZCOUNT', KEYS[6], '-inf', '(' .. ARGV[7]) == 0 then return 0 end
end
redis.call('SADD', ids, ARGV[3])
redis.call('RPUSH', isPaused and KEYS[2] or KEYS[5], ARGV[6])
if ARGV[8] == '1' then redis.call('ZADD', KEYS[6], ARGV[7], ARGV[7]) end
redis.call('HINCRBY', KEYS[1], 'spooled', ARGV[5])
local parked = redis.call('HINCRBY', KEYS[1], 'parked', ARGV[5])
redis.call('HINCRBY', KEYS[3], ARGV[4], -ARGV[5])
redis.call('HINCRBY', KEYS[4], ARGV[4], -ARGV[5])
local words = { ARGV[2], run[3], run[1], run[2] or '-', ARGV[4], parked, isPaused and 0 or 1 }
redis.call('PUBLISH', ARGV[1], table.concat(words, ' '))
return 1
