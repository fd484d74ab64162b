-- Open a run, or find the unfinished one with the same content.
-- KEYS[1] run record
-- ARGV[1] key base, [2] run id, [3] content hash or '', [4…] fields and values of the record
-- Returns the id of the run: the given one, or that of its unfinished twin.
local base, id, content = ARGV[1], ARGV[2], ARGV[3]
if content ~= '' then
  local key = base .. ':content:' .. content
  local twin = redis.call('GET', key)
  if twin and redis.call('SISMEMBER', base .. ':unfinished', twin) == 1 then return twin end
  redis.call('SET', key, id)
end
redis.call('HSET', KEYS[1], 'content', content, unpack(ARGV, 4))
redis.call('ZADD', base .. ':runs', 0, id)
redis.call('SADD', base .. ':unfinished', id)
return id
