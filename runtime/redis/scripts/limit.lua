-- Take tokens from buckets, each token from all of them or from none. The formula is the one of
-- machines/bucket.ts, on the clock of Redis.
-- KEYS[…] the buckets
-- ARGV[1] tokens wanted, then for each bucket [2…] tokens a second and most tokens it holds
-- Returns { tokens taken, ms until all of them hold one more, or -1 when they never will }.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local taken = tonumber(ARGV[1])
local buckets, isAhead = {}, false
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local tokens, at = unpack(redis.call('HMGET', key, 'tokens', 'at'))
  tokens, at = tonumber(tokens or burst), tonumber(at or now)
  -- A clock that was set back gives nothing twice, but must not keep everybody waiting either.
  if at > now + 1000 then at, isAhead = now, true end
  tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000)
  taken = math.min(taken, math.max(0, math.floor(tokens)))
  buckets[i] = { tokens = tokens, at = math.max(at, now), rate = rate, burst = burst }
end
local wait = 0
for i, key in ipairs(KEYS) do
  local bucket = buckets[i]
  local tokens = bucket.tokens - taken
  if taken > 0 or isAhead then
    redis.call('HSET', key, 'tokens', string.format('%.17g', tokens),
      'at', string.format('%.17g', bucket.at))
    -- One that would be full again need not be remembered.
    if bucket.rate > 0 then
      local fullMs = (bucket.burst - tokens) * 1000 / bucket.rate
      redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(fullMs) + 1000))
    else
      redis.call('PERSIST', key)
    end
  end
  if tokens < 1 and wait >= 0 then
    if bucket.rate <= 0 or bucket.burst < 1 then wait = -1
    else wait = math.max(wait, math.ceil((1 - tokens) * 1000 / bucket.rate)) end
  end
end
return { taken, wait }
