-- Commit what one look at a run's source brought.
-- KEYS[1] run record, [2] spool, [3] rejected lines
-- ARGV[1] line the run must stand at, [2] lines, [3] accepted, [4] rejected now,
--   [5] tasks spooled now, [6] how many of the rest are rejected lines, [7…] rejected lines to
--   keep (JSON), then envelopes for the spool (JSON)
-- Returns 1, or 0 when the run does not stand at that line: somebody else went on with it.
if redis.call('HGET', KEYS[1], 'lines') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lines', ARGV[2], 'accepted', ARGV[3])
if ARGV[4] ~= '0' then redis.call('HINCRBY', KEYS[1], 'rejected', ARGV[4]) end
local kept = tonumber(ARGV[6])
for i = 7, 6 + kept do redis.call('RPUSH', KEYS[3], ARGV[i]) end
if #ARGV > 6 + kept then
  redis.call('HINCRBY', KEYS[1], 'spooled', ARGV[5])
  for i = 7 + kept, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
end
return 1
