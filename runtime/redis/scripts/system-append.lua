-- Append a transition of a node, with how the node is since.
-- KEYS[1] ids of the entries, newest first, [2] entries, [3] snapshots, [4] the operators' word
-- ARGV[1] id, [2] entry, [3] node, [4] snapshot, [5] most entries, [6] the word ('' for none),
--   [7] channel of those who wait for it
-- Returns 1, or 0 when it was there already.
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
while redis.call('LLEN', KEYS[1]) > tonumber(ARGV[5]) do
  redis.call('HDEL', KEYS[2], redis.call('RPOP', KEYS[1]))
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[4], ARGV[6])
  redis.call('PUBLISH', ARGV[7], ARGV[1])
end
return 1
