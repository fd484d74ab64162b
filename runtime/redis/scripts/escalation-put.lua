-- Put an escalation in the place of the one that was read before.
-- KEYS[1] hash of the escalations
-- ARGV[1] metric  ARGV[2] version of the one before, 0: none  ARGV[3] the new one, as JSON
-- Returns 1, or 0 when it has another version by now.
local before = redis.call('HGET', KEYS[1], ARGV[1])
local version = before and cjson.decode(before).version or 0
if version ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
