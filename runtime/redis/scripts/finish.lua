-- Note that settlements are stored, or that the source has ended; halt the run when too many of
-- its tasks are not ok; complete it when its source has ended, every task has an outcome and every
-- outcome is stored.
-- KEYS[1] run record, [2] outcome map, [3] settlements being stored, [4] epoch of the newest grant
-- ARGV[1] key base, [2] channel, [3] run id, [4] now (epoch ms), [5] '1' when its source ended,
--   [6] how long to keep the outcome map (ms), [7] epoch of whoever asks, or '',
--   [8…] settlement ids
-- Returns the state of the run, nil when there is no such run, or {-2, epoch} when there is a newer
--   grant.
if ARGV[7] ~= '' then
  local newest = redis.call('GET', KEYS[4]) or '0'
  if tonumber(newest) > tonumber(ARGV[7]) then return { -2, newest } end
end
local base, id = ARGV[1], ARGV[3]
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return false end
for i = 8, #ARGV do redis.call('SREM', KEYS[3], ARGV[i]) end
local before = state
if ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'closed', '1')
  if state == 'accepting' then state = 'running' end
end
local run = redis.call('HMGET', KEYS[1], 'closed', 'done', 'accepted', 'content', 'finishedAt',
  'hold', 'haltMode', 'parked')
if run[5] then return state end
local closed, done, accepted = run[1] == '1', tonumber(run[2]), tonumber(run[3])
local hold, isNewHold = run[6] or '-', false
if run[7] and (hold == '-' or hold == 'paused') and not (closed and done >= accepted) then
  local halt = redis.call('HMGET', KEYS[1], 'haltTasks', 'haltPercent', 'failed', 'timeout', 'dead')
  local bad = tonumber(halt[3] or 0) + tonumber(halt[4] or 0) + tonumber(halt[5] or 0)
  -- The first of a source that is still being read say little about the whole.
  local whole = closed and accepted or math.max(accepted, 100)
  local most = tonumber(halt[1]) or math.max(1, math.ceil(whole * tonumber(halt[2]) / 100))
  if bad >= most then
    hold, isNewHold = 'halted-' .. run[7], true
    local limit = halt[1] and halt[1] or halt[2] .. '%'
    local tasks = bad .. (bad == 1 and ' task' or ' tasks')
    local reason = tasks .. ' failed, timed out or died (halt: fail=' .. limit .. ')'
    redis.call('HSET', KEYS[1], 'hold', hold, 'stopReason', reason)
    redis.call('HSET', base .. ':holds', id, hold)
    local first = KEYS[1] .. ':spool:first'
    while redis.call('RPOPLPUSH', KEYS[1] .. ':parked', first) do
      redis.call('HINCRBY', KEYS[1], 'unshifted', 1)
    end
  end
end
if closed and done >= accepted and redis.call('SCARD', KEYS[3]) == 0 then
  state = 'completed'
  if hold == 'cancelled' then state = 'cancelled' end
  -- What ran when it was paused was all there was.
  if hold == 'paused' then redis.call('HDEL', KEYS[1], 'hold', 'stopReason') end
  if hold:sub(1, 6) == 'halted' then state = 'halted' end
  redis.call('HSET', KEYS[1], 'finishedAt', ARGV[4])
  redis.call('SREM', base .. ':unfinished', id)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  -- Room that a crash between reserving and adding left behind is given back here.
  local held = redis.call('HGETALL', KEYS[1] .. ':room')
  for i = 1, #held, 2 do
    if held[i + 1] ~= '0' then
      redis.call('HINCRBY', base .. ':room', held[i], string.format('%.0f', -held[i + 1]))
    end
  end
  for i = 1, #held, 2 do redis.call('DEL', KEYS[1] .. ':behind:' .. held[i]) end
  for _, parent in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':parents')) do
    redis.call('DEL', KEYS[1] .. ':children:' .. parent)
  end
  for _, name in ipairs({ 'room', 'spool', 'spool:first', 'ids', 'parked', 'parked:ids', 'held',
    'needs', 'parents', 'begun' }) do
    redis.call('DEL', KEYS[1] .. ':' .. name)
  end
  redis.call('HDEL', base .. ':holds', id)
  local content = base .. ':content:' .. (run[4] or '')
  if redis.call('GET', content) == id then redis.call('DEL', content) end
end
if state ~= before then redis.call('HSET', KEYS[1], 'state', state) end
if state ~= before or isNewHold then
  local words = { id, run[2], state, hold, '-', run[8] or 0, isNewHold and 1 or 0 }
  redis.call('PUBLISH', ARGV[2], table.concat(words, ' '))
end
return state
