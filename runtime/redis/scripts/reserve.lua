-- Take room for tasks in a mailbox.
-- KEYS[1] room of all mailboxes, [2] room held by the run
-- ARGV[1] mailbox, [2] tasks, [3] most tasks the mailbox may hold
-- Returns 1, or 0 when there is no room for all of them.
local used = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if used + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
return 1
