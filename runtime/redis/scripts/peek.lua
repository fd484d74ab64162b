-- Look at the head of a run's spool: what was put back from the mailboxes, and then the rest.
-- KEYS[1] run record, [2] what was put back, [3] spool
-- ARGV[1] at most so many envelopes
-- Returns a mark that says which they are (drop.lua), and the envelopes.
local back = redis.call('LRANGE', KEYS[2], 0, ARGV[1] - 1)
if #back > 0 then return { redis.call('HGET', KEYS[1], 'unshifted') or '0', back } end
return { '', redis.call('LRANGE', KEYS[3], 0, ARGV[1] - 1) }
