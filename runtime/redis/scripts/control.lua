-- Pause, resume or cancel a run.
-- KEYS[1] run record
-- ARGV[1] key base, [2] channel, [3] run id, [4] 'pause', 'resume' or 'cancel', [5] reason
-- Returns 1, 0 when it stands so already, -1 when there is no such run, or the state that does not
--   allow it.
local run = redis.call('HMGET', KEYS[1], 'state', 'hold', 'finishedAt', 'done', 'parked')
local state, hold, finishedAt, done, parked = run[1], run[2] or '-', run[3], run[4], run[5] or 0
if not state then return -1 end
if finishedAt then return state end
local isPaused = hold == 'paused'
local isStopped = hold ~= '-' and not isPaused
local action, id = ARGV[4], ARGV[3]
if action == 'cancel' then
  if hold == 'cancelled' then return 0 end
  hold = 'cancelled'
elseif isStopped then
  return 'stopping (' .. hold .. ')'
elseif action == 'pause' then
  if isPaused then return 0 end
  hold = 'paused'
else
  if not isPaused then return 0 end
  hold = '-'
end
if hold == '-' then
  redis.call('HDEL', KEYS[1], 'hold', 'stopReason')
  redis.call('HDEL', ARGV[1] .. ':holds', id)
else
  redis.call('HSET', KEYS[1], 'hold', hold, 'stopReason', ARGV[5])
  redis.call('HSET', ARGV[1] .. ':holds', id, hold)
end
if hold ~= 'paused' then
  -- What was put back comes before what never had its turn, in the order it was put back.
  local first = KEYS[1] .. ':spool:first'
  while redis.call('RPOPLPUSH', KEYS[1] .. ':parked', first) do
    redis.call('HINCRBY', KEYS[1], 'unshifted', 1)
  end
end
local words = { id, done, state, hold, '-', parked, 1 }
redis.call('PUBLISH', ARGV[2], table.concat(words, ' '))
return 1
