-- Add what was counted to the buckets of its time, once, and read all windows. Time is that of
-- Redis; the buckets are those of machines/window.ts.
-- KEYS[1] sorted set of metrics, by when they were last counted  KEYS[2] hash of the escalations
-- KEYS[3] number of the last batch of whoever counts
-- ARGV[1] base of the buckets' keys  ARGV[2] ms a bucket  ARGV[3] buckets  ARGV[4] ms they are kept
-- ARGV[5] number of the batch, 0 to look only, then for each count: metric, count, how long ago
-- Returns { now, escalations as JSON, metric, its buckets, metric, … }.
local width, buckets, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function bucketKey(metric, bucket)
  return ARGV[1] .. metric .. ':' .. string.format('%.0f', bucket)
end

local number = tonumber(ARGV[5])
if number > tonumber(redis.call('GET', KEYS[3]) or '0') then
  redis.call('SET', KEYS[3], ARGV[5], 'PX', ttl)
  for i = 6, #ARGV, 3 do
    local metric, at = ARGV[i], now - tonumber(ARGV[i + 2])
    local key = bucketKey(metric, math.floor(at / width))
    redis.call('INCRBY', key, ARGV[i + 1])
    redis.call('PEXPIRE', key, ttl)
    redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', at), metric)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ttl))
end

local reply = { now, redis.call('HVALS', KEYS[2]) }
local current = math.floor(now / width)
local since = string.format('%.0f', now - width * buckets)
for _, metric in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf')) do
  local keys = {}
  for i = 1, buckets do keys[i] = bucketKey(metric, current - buckets + i) end
  local counts = redis.call('MGET', unpack(keys))
  for i = 1, buckets do counts[i] = tonumber(counts[i] or '0') end
  reply[#reply + 1] = metric
  reply[#reply + 1] = counts
end
return reply
