-- Open a run, or find that of the same key, or the unfinished one with the same content.
-- KEYS[1] run record, [2] run of the key
-- ARGV[1] key base, [2] run id, [3] content hash or '', [4] ttl of the key (ms), '' when there is
--   no key, [5…] fields and values of the record
-- Returns the id of the run, the given one or that of its twin; of the given one its record, too.
local base, id, content = ARGV[1], ARGV[2], ARGV[3]
if ARGV[4] ~= '' then
  local first = redis.call('GET', KEYS[2])
  if first and redis.call('EXISTS', base .. ':run:' .. first) == 1 then return { first } end
  redis.call('SET', KEYS[2], id, 'PX', ARGV[4])
  redis.call('HSET', KEYS[1], 'feeder', id)
elseif content ~= '' then
  local key = base .. ':content:' .. content
  local twin = redis.call('GET', key)
  if twin and redis.call('SISMEMBER', base .. ':unfinished', twin) == 1 then return { twin } end
  redis.call('SET', key, id)
end
redis.call('HSET', KEYS[1], 'content', content, unpack(ARGV, 5))
redis.call('ZADD', base .. ':runs', 0, id)
redis.call('SADD', base .. ':unfinished', id)
return { id, redis.call('HGETALL', KEYS[1]) }
