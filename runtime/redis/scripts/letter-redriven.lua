-- Note where a dead letter was redriven to. A message that came back meanwhile stays open.
-- KEYS[1] letter, [2] index of those that may go, [3] totals
-- ARGV[1] id, [2] where to, [3] how often it had been put when its redrive was counted
if redis.call('EXISTS', KEYS[1]) == 0 then return end
local as = redis.call('HGET', KEYS[1], 'redrivenAs')
local all = as and cjson.decode(as) or {}
if all[#all] ~= ARGV[2] then all[#all + 1] = ARGV[2] end
redis.call('HSET', KEYS[1], 'redrivenAs', cjson.encode(all))
if redis.call('HEXISTS', KEYS[1], 'isMessage') == 0 then
  redis.call('HSET', KEYS[1], 'state', 'redriven')
elseif redis.call('HGET', KEYS[1], 'puts') == ARGV[3] then
  redis.call('HSET', KEYS[1], 'state', 'redriven')
  if redis.call('ZADD', KEYS[2], redis.call('HGET', KEYS[1], 'place'), ARGV[1]) == 1 then
    redis.call('HINCRBY', KEYS[3], 'bytes', redis.call('HGET', KEYS[1], 'bytes'))
  end
end
