-- Make somebody the one who drives a run. Whoever was feeding it under a key is no more.
-- KEYS[1] run record, [2] epoch of the newest grant of the lease
-- ARGV[1] driver, [2] epoch of whoever asks, or '' when nobody has to lead for it
-- Returns 1, 0 when there is no such run, or {-2, epoch} when there is a newer grant.
if ARGV[2] ~= '' then
  local newest = redis.call('GET', KEYS[2]) or '0'
  if tonumber(newest) > tonumber(ARGV[2]) then return { -2, newest } end
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'driver', ARGV[1])
redis.call('HDEL', KEYS[1], 'feeder')
return 1
