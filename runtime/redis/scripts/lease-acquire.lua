-- Grant a lease to an owner, unless somebody else holds it.
-- KEYS[1] lock, [2] epoch of the newest grant
-- ARGV[1] owner, [2] holder (node id), [3] ttl in ms
-- Returns {1, epoch}, or {0, ms that somebody else has left}. The same owner asking again, because
--   the reply got lost, gets the same epoch and the whole ttl anew.
local lock = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if lock[1] and lock[1] ~= ARGV[1] then return { 0, redis.call('PTTL', KEYS[1]) } end
local epoch = lock[2]
if not epoch then
  -- By the time as well, so that it grows also when the counter was lost.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  epoch = string.format('%.0f', math.max(last + 1, now))
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'holder', ARGV[2], 'epoch', epoch,
    'since', string.format('%.0f', now))
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], epoch)
return { 1, epoch }
