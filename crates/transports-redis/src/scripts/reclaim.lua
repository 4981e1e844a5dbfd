-- Takes in what is pending and nobody here knows of: left by other clients, or by a server that lost the rest. ARGV: mapped,
-- life, group, how long what another client read must have been idle, where to go on, how many at a time, channel, the holder,
-- how long what a node read must have been idle
local rec = record(ARGV[1])
if rec.life ~= ARGV[2] then return gone(rec) end
local patience, ahead = tonumber(ARGV[4]), tonumber(ARGV[9])
local pending, ids = call('XPENDING', S, ARGV[3], 'IDLE', math.min(patience, ahead), ARGV[5], '+', ARGV[6]), {}
for n = 1, #pending do ids[n] = pending[n][1] end
local known = #ids > 0 and call('HMGET', H, unpack(ids)) or {}
local taken = 0
for n, entry in ipairs(pending) do
  local id, idle, s = entry[1], entry[3], read_state(known[n])
  local lane
  if not s then
    if idle >= (string.sub(entry[2], 1, 8) == 'busgate-' and ahead or patience) then
      local found = call('XRANGE', S, id, id)[1]
      lane = found and lane_of(found[2]) or ''
      s = { epoch = '0', attempts = entry[4], state = 'n', lane = lane }
    end
  elseif idle < patience then
    -- There is an entry: whoever made it looks after it, and now and then that is checked.
  elseif s.state == 'p' and not call('HGET', H, 'k' .. s.lane) then
    lane, s.state = s.lane, 'n'
    call('ZREM', W, lane .. pad(id))
  elseif s.state ~= 'p' and not (call('ZSCORE', T, id) or call('ZSCORE', D, id) or call('ZSCORE', R, pad(id))) then
    lane, s.state = s.lane, 'n'
  end
  if lane then
    taken = taken + 1
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
