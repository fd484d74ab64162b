-- Commit what one look at a run's source brought.
-- KEYS[1] run record, [2] spool, [3] rejected lines, [4] outcome map
-- ARGV[1] line the run must stand at, [2] lines, [3] accepted, [4] rejected now,
--   [5] tasks spooled or held now, [6] name of this call: asked again under the same name, because
--   the reply got lost, it has been done, [7] how many rejected lines to keep follow, [8] how many
--   envelopes for the spool come after them, [9] hash of the lines, or '', [10] who must be
--   feeding it, or '', [11…] rejected lines (JSON), envelopes (JSON), then, of each envelope that
--   waits for other tasks: its first seq, those of the tasks with commas between, the envelope
-- Returns 1, or 0 when somebody else feeds it, or the run does not stand at that line: somebody
--   else went on with it; -1 when there is no such run.
local lines = redis.call('HGET', KEYS[1], 'lines')
if not lines then return -1 end
if redis.call('HGET', KEYS[1], 'committed') == ARGV[6] then return 1 end
if lines ~= ARGV[1] then return 0 end
-- Closed, it may be over: nothing more can be counted.
if redis.call('HGET', KEYS[1], 'closed') == '1' then return 0 end
if ARGV[10] ~= '' and redis.call('HGET', KEYS[1], 'feeder') ~= ARGV[10] then return 0 end
redis.call('HSET', KEYS[1], 'lines', ARGV[2], 'accepted', ARGV[3], 'committed', ARGV[6])
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'linesHash', ARGV[9]) end
if ARGV[4] ~= '0' then redis.call('HINCRBY', KEYS[1], 'rejected', ARGV[4]) end
if ARGV[5] ~= '0' then redis.call('HINCRBY', KEYS[1], 'spooled', ARGV[5]) end
local at = 11
for _ = 1, tonumber(ARGV[7]) do
  redis.call('RPUSH', KEYS[3], ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[8]) do
  redis.call('RPUSH', KEYS[2], ARGV[at])
  at = at + 1
end
while at <= #ARGV do
  local first, envelope, waiting, bad = ARGV[at], ARGV[at + 2], {}, nil
  for parent in ARGV[at + 1]:gmatch('%d+') do
    local seq = tonumber(parent)
    local byte = math.floor(seq / 2)
    local held = redis.call('GETRANGE', KEYS[4], byte, byte):byte(1) or 0
    local code = seq % 2 == 0 and math.floor(held / 16) or held % 16
    if code == 0 then waiting[#waiting + 1] = parent
    elseif code ~= 1 then bad = parent .. ':' .. code end
  end
  if bad then
    redis.call('RPUSH', KEYS[2], '!' .. bad .. ' ' .. envelope)
  elseif #waiting == 0 then
    redis.call('RPUSH', KEYS[2], envelope)
  else
    redis.call('HSET', KEYS[1] .. ':held', first, envelope)
    redis.call('HSET', KEYS[1] .. ':needs', first, #waiting)
    for _, parent in ipairs(waiting) do
      redis.call('SADD', KEYS[1] .. ':parents', parent)
      redis.call('RPUSH', KEYS[1] .. ':children:' .. parent, first)
    end
  end
  at = at + 3
end
return 1
