-- Move the room that tasks of a run hold from one mailbox to another, once for each name of a move.
-- KEYS[1] run record, [2] room of all mailboxes, [3] room held by the run, [4] names of its moves
-- ARGV[1] name of the move, [2] mailbox it leaves, [3] mailbox it goes to, [4] tasks,
--   [5] how long to remember the move (ms)
-- Returns 1, or 0 when it was done before, or the run is over and holds nothing any more.
local run = redis.call('HMGET', KEYS[1], 'state', 'finishedAt')
if not run[1] or run[2] then return 0 end
if redis.call('SADD', KEYS[4], ARGV[1]) == 0 then return 0 end
redis.call('PEXPIRE', KEYS[4], ARGV[5])
for i = 2, 3 do
  redis.call('HINCRBY', KEYS[i], ARGV[2], -ARGV[4])
  redis.call('HINCRBY', KEYS[i], ARGV[3], ARGV[4])
end
return 1
