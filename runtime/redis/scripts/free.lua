-- Of a run that is stopped: into the spool with what waits for other tasks.
-- KEYS[1] run record, [2] spool, [3] what waits, by first seq, [4] for how many tasks each waits
-- ARGV[1] at most so many envelopes, or a few more
-- Returns how many that were.
local hold = redis.call('HGET', KEYS[1], 'hold')
if not hold or hold == 'paused' then return 0 end
local freed, cursor = 0, '0'
repeat
  local reply = redis.call('HSCAN', KEYS[3], cursor, 'COUNT', ARGV[1])
  cursor = reply[1]
  for i = 1, #reply[2], 2 do
    redis.call('RPUSH', KEYS[2], reply[2][i + 1])
    redis.call('HDEL', KEYS[3], reply[2][i])
    redis.call('HDEL', KEYS[4], reply[2][i])
    freed = freed + 1
  end
until cursor == '0' or freed >= tonumber(ARGV[1])
return freed
