-- Everybody who is registered.
-- KEYS[1] members, [2] when each was seen, [3] those dead for good
-- Returns now, then for each: what it says of itself (JSON), when it was seen, and how it is dead,
--   or an empty string.
local time = redis.call('TIME')
local reply = { tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) }
local seen = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #seen, 2 do
  reply[#reply + 1] = redis.call('HGET', KEYS[1], seen[i])
  reply[#reply + 1] = seen[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[3], seen[i]) or ''
end
return reply
