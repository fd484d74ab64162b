-- Whether an envelope of an ordered mailbox may be run.
-- KEYS[1] seqs of those of its run and mailbox that were put back
-- ARGV[1] its first seq
-- Returns 1, or 0 while others that come before it have been put back and not come again.
if redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1]) > 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
