-- Claim dedupe keys for tasks, in this order.
-- ARGV[1] base of the keys, [2…] of each claim: hash of the key, task, ttl (ms)
-- KEYS[1] any key of their slot
-- Returns for each claim an empty string, or the task that has the key already.
local reply = {}
for i = 2, #ARGV, 3 do
  local key, task = ARGV[1] .. ':dedupe:' .. ARGV[i], ARGV[i + 1]
  local holder = redis.call('GET', key)
  if not holder then redis.call('SET', key, task, 'PX', ARGV[i + 2]) end
  reply[#reply + 1] = holder and holder ~= task and holder or ''
end
return reply
