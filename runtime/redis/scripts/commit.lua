-- Commit what one look at a run's source brought.
-- KEYS[1] run record, [2] spool, [3] rejected lines
-- ARGV[1] line the run must stand at, [2] lines, [3] accepted, [4] rejected now,
--   [5] tasks spooled now, [6] name of this call: asked again under the same name, because the
--   reply got lost, it has been done, [7] how many of the rest are rejected lines, [8…] rejected
--   lines to keep (JSON), then envelopes for the spool (JSON)
-- Returns 1, or 0 when the run does not stand at that line: somebody else went on with it; -1 when
--   there is no such run.
local lines = redis.call('HGET', KEYS[1], 'lines')
if not lines then return -1 end
if redis.call('HGET', KEYS[1], 'committed') == ARGV[6] then return 1 end
if lines ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lines', ARGV[2], 'accepted', ARGV[3], 'committed', ARGV[6])
if ARGV[4] ~= '0' then redis.call('HINCRBY', KEYS[1], 'rejected', ARGV[4]) end
local kept = tonumber(ARGV[7])
for i = 8, 7 + kept do redis.call('RPUSH', KEYS[3], ARGV[i]) end
if #ARGV > 7 + kept then
  redis.call('HINCRBY', KEYS[1], 'spooled', ARGV[5])
  for i = 8 + kept, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
end
return 1
