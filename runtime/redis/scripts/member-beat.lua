-- Register a boot of a node, or say again that it is there.
-- KEYS[1] members, [2] when each was seen, [3] boot of each node id, [4] those dead for good
-- ARGV[1] node id, [2] boot, [3] what it says of itself (JSON), [4] silence (ms) after which one is
--   dead, [5] how long the dead are kept (ms), [6] boot of the id that is known to have ended
-- Returns verdict, now, and for a verdict other than `ok` the one that has the id, if anybody has:
--   what it says of itself and when it was seen. `twin`: refused; `displaced`: dead for good.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stale = tonumber(ARGV[4])

local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - stale - tonumber(ARGV[5]))
for _, field in ipairs(old) do
  redis.call('ZREM', KEYS[2], field)
  redis.call('HDEL', KEYS[1], field)
  redis.call('HDEL', KEYS[4], field)
  local id, boot = string.match(field, '^(.*) ([^ ]*)$')
  if redis.call('HGET', KEYS[3], id) == boot then redis.call('HDEL', KEYS[3], id) end
end

local field = ARGV[1] .. ' ' .. ARGV[2]
local holder = redis.call('HGET', KEYS[3], ARGV[1])
local other = holder and holder ~= ARGV[2] and ARGV[1] .. ' ' .. holder
local function answer(verdict)
  if not other then return { verdict, now } end
  return { verdict, now, redis.call('HGET', KEYS[1], other), redis.call('ZSCORE', KEYS[2], other) }
end

if redis.call('HEXISTS', KEYS[4], field) == 1 then return answer('displaced') end
if other then
  local silent = now - tonumber(redis.call('ZSCORE', KEYS[2], other))
  if silent <= stale and holder ~= ARGV[6] then return answer('twin') end
  redis.call('HSETNX', KEYS[4], other, 'displaced')
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], field, ARGV[3])
redis.call('ZADD', KEYS[2], now, field)
return { 'ok', now }
