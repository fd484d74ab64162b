-- Note something about a message, if it is still in the hands of whoever notes it; or, where it
-- only takes back what it noted, in nobody's: one that has lost its lock is alive all the same, and
-- what it was running has not killed it.
-- KEYS[1] lock of the message, [2] its notes
-- ARGV[1] token under which it was locked, [2] how long to keep the notes (ms), [3] '1' when it
--   only takes back, [4…] fields and values
-- Returns 1, or 0, and notes nothing, when the lock is lost.
local lock = redis.call('GET', KEYS[1])
if lock ~= ARGV[1] and (lock or ARGV[3] ~= '1') then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
