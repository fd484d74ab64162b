-- The newest grant of a lease that is known.
-- KEYS[1] lock, [2] epoch of the newest grant
-- Returns its epoch, 0 when there is none.
local counted = redis.call('GET', KEYS[2]) or '0'
local held = redis.call('HGET', KEYS[1], 'epoch') or '0'
return tonumber(counted) > tonumber(held) and counted or held
