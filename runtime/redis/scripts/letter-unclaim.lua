-- A redrive that was counted was not done.
-- KEYS[1] letter
local redrives = tonumber(redis.call('HGET', KEYS[1], 'redrives') or '0')
if redrives > 0 then redis.call('HSET', KEYS[1], 'redrives', redrives - 1) end
