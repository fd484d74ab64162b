-- Count a redrive of a dead letter, before it is done.
-- KEYS[1] letter
-- ARGV[1] most redrives
-- Returns {'granted', redrives, puts}, {'missing'}, {'often', redrives} or {'gone'}.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return { 'missing' } end
local redrives = tonumber(redis.call('HGET', KEYS[1], 'redrives'))
if redrives >= tonumber(ARGV[1]) then return { 'often', redrives } end
local isMessage = redis.call('HEXISTS', KEYS[1], 'isMessage') == 1
if state == 'redriven' and isMessage then return { 'gone' } end
return { 'granted', redis.call('HINCRBY', KEYS[1], 'redrives', 1),
  tonumber(redis.call('HGET', KEYS[1], 'puts')) }
