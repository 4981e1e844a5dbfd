-- Takes in what is pending and nobody here knows of: left by other clients, or by a server that lost the rest.
-- ARGV: mapped, life, group, how long it must have been idle, where to go on, how many at a time, channel, the holder
local rec = record(ARGV[1])
if rec.life ~= ARGV[2] then return gone(rec) end
local pending = call('XPENDING', S, ARGV[3], 'IDLE', ARGV[4], ARGV[5], '+', ARGV[6])
local taken = 0
for _, entry in ipairs(pending) do
  local id, s = entry[1], read_state(call('HGET', H, entry[1]))
  local lane
  if not s then
    local found = call('XRANGE', S, id, id)[1]
    lane = found and lane_of(found[2]) or ''
    s = { epoch = '0', attempts = entry[4], state = 'n', lane = lane }
  elseif s.state == 'p' and not call('HGET', H, 'k' .. s.lane) then
    lane = s.lane
    call('ZREM', W, lane .. pad(id))
  elseif s.state ~= 'p' and not (call('ZSCORE', T, id) or call('ZSCORE', D, id) or call('ZSCORE', R, pad(id))) then
    lane = s.lane
  end
  if lane then
    taken = taken + 1
    s.state = 'n'
    local holder = lane ~= '' and call('HGET', H, 'k' .. lane)
    if lane == '' or not holder or holder == id then
      if lane ~= '' then call('HSET', H, 'k' .. lane, id) end
      call('ZADD', R, 0, pad(id))
    else
      s.state = 'p'
      call('ZADD', W, 0, lane .. pad(id))
    end
    call('HSET', H, id, write_state(s))
  end
end
if taken > 0 then call('PUBLISH', ARGV[7], 'group - ' .. ARGV[8]) end
local last = pending[#pending]
return { 'ok', taken, last and #pending == tonumber(ARGV[6]) and last[1] or '' }
