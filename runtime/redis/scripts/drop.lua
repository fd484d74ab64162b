-- Take envelopes off the head of a run's spool.
-- KEYS[1] run record, [2] what was put back, [3] spool
-- ARGV[1] envelopes, [2] tasks in them, [3] name of this call: asked again under the same name,
--   because the reply got lost, it must not drop what comes after them, [4] who must be driving the
--   run, or '', [5] mark of the head (peek.lua)
-- Returns 1, -1 when there is no such run, or -3 when somebody else drives it.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
if redis.call('HGET', KEYS[1], 'dropped') == ARGV[3] then return 1 end
-- Two that move one spool would each drop what the other has not sent.
if ARGV[4] ~= '' and redis.call('HGET', KEYS[1], 'driver') ~= ARGV[4] then return -3 end
redis.call('HSET', KEYS[1], 'dropped', ARGV[3])
if ARGV[5] == '' then
  redis.call('LTRIM', KEYS[3], ARGV[1], -1)
else
  -- So many were put before them since they were looked at.
  local before = (redis.call('HGET', KEYS[1], 'unshifted') or '0') - ARGV[5]
  if before == 0 then
    redis.call('LTRIM', KEYS[2], ARGV[1], -1)
  else
    for at = before, before + ARGV[1] - 1 do redis.call('LSET', KEYS[2], at, '-') end
    redis.call('LREM', KEYS[2], ARGV[1], '-')
  end
end
redis.call('HINCRBY', KEYS[1], 'spooled', -ARGV[2])
return 1
