-- Keep a dead letter, and let the oldest go that are too many.
-- KEYS[1] letter, [2] index of all, [3] index of those that may go, [4] totals, [5] what the tasks
--   of its run are redrives of
-- ARGV[1] key base of letters, [2] id, [3] head (JSON), [4] contents (JSON), [5] '1' where it is
--   the only copy of a message, [6] most letters that may go, [7] most bytes they may have, [8] seq
-- Returns 1, or 0 when it was there before.
local base, id, isOnlyCopy = ARGV[1], ARGV[2], ARGV[5] == '1'
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'puts', 1)
  if isOnlyCopy then
    redis.call('HSET', KEYS[1], 'state', 'open')
    if redis.call('ZREM', KEYS[3], id) == 1 then
      redis.call('HINCRBY', KEYS[4], 'bytes', -redis.call('HGET', KEYS[1], 'bytes'))
    end
  end
  return 0
end
local bytes, place = #ARGV[3] + #ARGV[4], redis.call('HINCRBY', KEYS[4], 'places', 1)
redis.call('HSET', KEYS[1], 'head', ARGV[3], 'contents', ARGV[4], 'bytes', bytes, 'place', place,
  'state', 'open', 'puts', 1, 'redrives', 0)
local link = ARGV[8] ~= '' and redis.call('HGET', KEYS[5], ARGV[8])
if link then
  local redrives, letter = link:match('^(%d+) (.*)$')
  redis.call('HSET', KEYS[1], 'redrives', redrives, 'redriveOf', letter)
end
redis.call('ZADD', KEYS[2], place, id)
if isOnlyCopy then
  redis.call('HSET', KEYS[1], 'isMessage', 1)
  return 1
end
redis.call('ZADD', KEYS[3], place, id)
local held = redis.call('HINCRBY', KEYS[4], 'bytes', bytes)
local count = redis.call('ZCARD', KEYS[3])
-- The newest stays, however large.
while count > 1 and (count > tonumber(ARGV[6]) or held > tonumber(ARGV[7])) do
  local oldest = redis.call('ZPOPMIN', KEYS[3])[1]
  held = redis.call('HINCRBY', KEYS[4], 'bytes', -redis.call('HGET', base .. oldest, 'bytes'))
  redis.call('ZREM', KEYS[2], oldest)
  redis.call('UNLINK', base .. oldest)
  count = count - 1
end
return 1
