-- Write the outcomes of tasks into the run's outcome map, each only where it was still 0; count
-- them; give back the room they held; let go what waited for them. The map holds four bits a task,
-- seq 0 in the high half of byte 0, and is read and written in byte ranges: nearly always a range
-- was empty and is set whole.
-- KEYS[1] run record, [2] outcome map, [3] settlements being stored, [4] room of all mailboxes,
--   [5] room held by the run, [6] epoch of the newest grant of the lease
-- ARGV[1] settlement id, [2] mailbox, '' when they held no room, [3] channel, [4] run id,
--   [5…11] tasks by outcome code 1…7, [12] epoch of whoever settles, or '' when nobody has to lead
--   for it, [13…] pairs of first byte and bytes (outcomes; 0 where a task is not of this
--   settlement)
-- Returns {fresh}, or {fresh, bytes before…} (hex) when some tasks had an outcome already, {-1}
--   when there is no such run or its map is gone, or {-2, epoch} when there is a newer grant.
if ARGV[12] ~= '' then
  local newest = redis.call('GET', KEYS[6]) or '0'
  if tonumber(newest) > tonumber(ARGV[12]) then return { -2, newest } end
end
local state, hold, parked = unpack(redis.call('HMGET', KEYS[1], 'state', 'hold', 'parked'))
if not state then return { -1 } end
if redis.call('HEXISTS', KEYS[1], 'finishedAt') == 1 and redis.call('EXISTS', KEYS[2]) == 0 then
  return { -1 }
end
local names = { 'ok', 'failed', 'timeout', 'cancelled', 'expired', 'dead', 'unreached' }
local counts, stale, before = {}, false, {}
for code = 1, 7 do counts[code] = tonumber(ARGV[4 + code]) end
for i = 13, #ARGV, 2 do
  local first, mine = tonumber(ARGV[i]), ARGV[i + 1]
  local current = redis.call('GETRANGE', KEYS[2], first, first + #mine - 1)
  current = current .. string.rep('\0', #mine - #current)
  if current == string.rep('\0', #mine) then
    redis.call('SETRANGE', KEYS[2], first, mine)
  else
    local merged = {}
    for j = 1, #mine do
      local old, new = current:byte(j), mine:byte(j)
      local oldHigh, newHigh = math.floor(old / 16), math.floor(new / 16)
      local oldLow, newLow = old % 16, new % 16
      if oldHigh ~= 0 then
        if newHigh ~= 0 then counts[newHigh] = counts[newHigh] - 1; stale = true end
        newHigh = oldHigh
      end
      if oldLow ~= 0 then
        if newLow ~= 0 then counts[newLow] = counts[newLow] - 1; stale = true end
        newLow = oldLow
      end
      merged[j] = string.char(newHigh * 16 + newLow)
    end
    redis.call('SETRANGE', KEYS[2], first, table.concat(merged))
  end
  before[#before + 1] = current
end
local held, needs, parents = KEYS[1] .. ':held', KEYS[1] .. ':needs', KEYS[1] .. ':parents'
local letGo = 0
local function enspool(first, mark)
  local envelope = redis.call('HGET', held, first)
  if not envelope then return '' end
  redis.call('RPUSH', KEYS[1] .. ':spool', mark .. envelope)
  redis.call('HDEL', held, first)
  redis.call('HDEL', needs, first)
  letGo = letGo + 1
  return envelope
end
-- Of a long chain not everything in one call: the rest follows when those before it are counted.
local letGoMax = 10000
-- A task that is ok is one fewer to wait for; one that is not ends all that waited for it, and all
-- that waited for those.
local function release(seq, code)
  local ended, at = { { seq, code } }, 1
  while ended[at] do
    local parent, how = ended[at][1], ended[at][2]
    at = at + 1
    local list = KEYS[1] .. ':children:' .. parent
    local firsts = redis.call('LRANGE', list, 0, -1)
    if #firsts > 0 then
      redis.call('DEL', list)
      redis.call('SREM', parents, parent)
    end
    for _, first in ipairs(firsts) do
      if how == 1 then
        if redis.call('HEXISTS', held, first) == 1
          and redis.call('HINCRBY', needs, first, -1) == 0 then
          enspool(first, '')
        end
      else
        local envelope = enspool(first, '!' .. parent .. ':' .. how .. ' ')
        local seqs = letGo < letGoMax and envelope:match('"seqs":(%b[])') or ''
        for from, count in seqs:gmatch('%[(%d+),(%d+)%]') do
          for child = tonumber(from), from + count - 1 do ended[#ended + 1] = { child, 7 } end
        end
      end
    end
  end
end
if redis.call('EXISTS', parents) == 1 then
  local range = 0
  for i = 13, #ARGV, 2 do
    range = range + 1
    local first, mine, old = tonumber(ARGV[i]), ARGV[i + 1], before[range]
    for j = 1, #mine do
      local new, was = mine:byte(j), old:byte(j)
      local seq = (first + j - 1) * 2
      if new >= 16 and was < 16 then release(seq, math.floor(new / 16)) end
      if new % 16 ~= 0 and was % 16 == 0 then release(seq + 1, new % 16) end
    end
  end
end
local fresh = 0
for code = 1, 7 do
  if counts[code] > 0 then
    redis.call('HINCRBY', KEYS[1], names[code], counts[code])
    fresh = fresh + counts[code]
  end
end
if fresh > 0 then
  -- Not again: of one that is settled a second time the rows are noted, or stored by now, and who
  -- stood still meanwhile may be gone before he takes back what he noted.
  redis.call('SADD', KEYS[3], ARGV[1])
  local done = redis.call('HINCRBY', KEYS[1], 'done', fresh)
  if ARGV[2] ~= '' then
    redis.call('HINCRBY', KEYS[4], ARGV[2], -fresh)
    redis.call('HINCRBY', KEYS[5], ARGV[2], -fresh)
  end
  local mailbox = ARGV[2] == '' and '-' or ARGV[2]
  local words = { ARGV[4], done, state, hold or '-', mailbox, parked or 0, letGo }
  redis.call('PUBLISH', ARGV[3], table.concat(words, ' '))
end
local reply = { fresh }
if stale then
  for _, bytes in ipairs(before) do
    reply[#reply + 1] = (bytes:gsub('.', function(c) return string.format('%02x', c:byte()) end))
  end
end
return reply
