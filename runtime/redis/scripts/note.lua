-- Note something about a message, if it is still in the hands of whoever notes it.
-- KEYS[1] lock of the message, [2] its notes
-- ARGV[1] token under which it was locked, [2] how long to keep the notes (ms), [3…] fields and
--   values
-- Returns 1, or 0, and notes nothing, when the lock is lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
