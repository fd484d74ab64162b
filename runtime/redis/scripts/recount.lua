-- Give back room that a run holds and has no task for: its driver was killed, or lost a reply,
-- between reserving and adding. Known for certain only when all its tasks have left the source and
-- the spool, and when they can be in one mailbox alone.
-- KEYS[1] run record, [2] room of all mailboxes, [3] room held by the run,
--   [4] epoch of the newest grant of the lease
-- ARGV[1] epoch of whoever asks, or ''
-- Returns how many tasks' room that was, or {-2, epoch} when there is a newer grant.
if ARGV[1] ~= '' then
  local newest = redis.call('GET', KEYS[4]) or '0'
  if tonumber(newest) > tonumber(ARGV[1]) then return { -2, newest } end
end
local run = redis.call('HMGET', KEYS[1], 'closed', 'spooled', 'accepted', 'done', 'finishedAt')
if run[1] ~= '1' or run[2] ~= '0' or run[5] then return 0 end
local held, mailbox, mailboxes = 0, nil, 0
local room = redis.call('HGETALL', KEYS[3])
for i = 1, #room, 2 do
  if room[i + 1] ~= '0' then
    held, mailbox, mailboxes = held + tonumber(room[i + 1]), room[i], mailboxes + 1
  end
end
local excess = held - (tonumber(run[3]) - tonumber(run[4]))
if mailboxes ~= 1 or excess <= 0 then return 0 end
redis.call('HINCRBY', KEYS[2], mailbox, -excess)
redis.call('HINCRBY', KEYS[3], mailbox, -excess)
return excess
