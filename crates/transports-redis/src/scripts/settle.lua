-- Settles a batch of one group. ARGV: mapped, life, group, channel, the holder, node, then acks of what is held here:
-- an epoch, which of its run as bits (empty: they have entries), how many, their ids, and so on until an epoch is empty; then of
-- each of the others: id, epoch, verb, a time, whether nobody holds it here. It answers one number each, none when all are done
local rec = record(ARGV[1])
if rec.life ~= ARGV[2] then return gone(rec) end
local now, known, out = now_ms(), {}, {}
local acks, back, elsewhere, twice = {}, false, {}, {}

-- The delay that the group's members asked for last, for whoever does not know the one of the delivery.
local function backoff(attempts)
  local delay, nth = 0, 0
  for step in string.gmatch(call('HGET', H, 'backoff') or '', '%d+') do
    nth = nth + 1
    delay = tonumber(step)
    if nth >= attempts then break end
  end
  return delay
end

-- An ack of a message, of which this is known; answers whether it was held under the epoch.
local function ack(id, epoch, text)
  if not text then return leave_run(id, epoch) and 1 or 0 end
  if string.sub(text, 1, #epoch + 1) ~= epoch .. ' ' or twice[id] then return 0 end
  acks[#acks + 1], twice[id] = id, true
  -- Without a lane it ends with the space before it.
  if string.byte(text, -1) ~= 32 and leave_lane(id, read_state(text).lane) then back = true end
  return 1
end

-- Acks of messages of one run by their bits; answers whether all of them were in it. Else nothing is done.
local function ack_all(epoch, bits)
  local told = call('HGET', H, 'd' .. epoch)
  if not told or #told < #bits or runs[epoch] then return false end
  local gone, more = { string.byte(told, 1, -1) }, { string.byte(bits, 1, -1) }
  for n = 1, #more do
    if bit.band(gone[n], more[n]) ~= 0 then return false end
    gone[n] = gone[n] + more[n]
  end
  keep_run(epoch, gone)
  return true
end

-- Acks of what this node holds come by epoch: most are still in their run, and nothing is to be looked up.
local at, held = 7, 0
while ARGV[at] ~= '' do
  local epoch, bits, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if bits ~= '' and ack_all(epoch, bits) then
    for n = held + 1, held + count do out[n] = 1 end
  else
    local ids = {}
    for id in string.gmatch(ARGV[at + 3], '%S+') do ids[#ids + 1] = id end
    for n, text in ipairs(call('HMGET', H, unpack(ids))) do out[held + n] = ack(ids[n], epoch, text) end
  end
  held, at = held + count, at + 4
end

for from = at + 1, #ARGV, 2500 do
  local ids, n = {}, 0
  for i = from, math.min(from + 2495, #ARGV), 5 do
    n = n + 1
    ids[n] = ARGV[i]
  end
  local texts = call('HMGET', H, unpack(ids))
  for n = 1, #ids do known[ids[n]] = texts[n] end
end

for i = at + 1, #ARGV, 5 do
  local id, epoch, verb = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local text = known[id]
  local n = #out + 1
  if text == false and verb ~= 'ack' then
    local s = entry_of(id, epoch)
    if s then
      text = write_state(s)
      call('HSET', H, id, text)
      call('ZADD', T, now, id)
    end
  end
  if verb == 'ack' then
    out[n] = ack(id, epoch, text)
    if out[n] == 1 then known[id] = nil end
    if out[n] == 1 and ARGV[i + 4] == '1' then elsewhere[#elsewhere + 1] = id end
  elseif not text or string.sub(text, 1, #epoch + 1) ~= epoch .. ' ' then
    out[n] = 0
  else
    out[n] = 1
    local s, time = read_state(text), tonumber(ARGV[i + 3])
    -- Whoever settles it has had it, whether the start of its lease was told or not.
    local had = s.attempts + ((s.state == 'b' or s.state == 'f') and 1 or 0)
    if verb == 'nack' then
      s.epoch, s.attempts, s.state = '0', had, 'n'
      call('HSET', H, id, write_state(s))
      call('ZREM', T, id)
      call('ZREM', R, pad(id))
      if time < 0 then time = backoff(had) end
      if time > 0 then call('ZADD', D, now + time, id) else call('ZADD', R, 0, pad(id)) end
      back = true
    elseif verb == 'extend' then
      s.attempts, s.state = had, 'l'
      call('HSET', H, id, write_state(s))
      call('ZREM', R, pad(id))
      call('ZADD', T, now + time, id)
      back = true
    else
      -- Uncounted it is as if it had never been yielded.
      if verb == 'release' then
        s.attempts, s.state = had, 'l'
      else
        s.attempts, s.state = had - 1, 'f'
      end
      call('HSET', H, id, write_state(s))
      if call('ZREM', T, id) == 1 then call('ZADD', R, 0, pad(id)) end
      back = true
    end
    known[id] = write_state(s)
    if ARGV[i + 4] == '1' then elsewhere[#elsewhere + 1] = id end
  end
end
keep_runs(ARGV[3], 'busgate-' .. ARGV[6])
for from = 1, #acks, 1000 do
  local to = math.min(from + 999, #acks)
  call('XACK', S, ARGV[3], unpack(acks, from, to))
  call('HDEL', H, unpack(acks, from, to))
  call('ZREM', T, unpack(acks, from, to))
  if call('ZCARD', R) > 0 then
    for n = from, to do call('ZREM', R, pad(acks[n])) end
  end
end
if #elsewhere > 0 then
  call('PUBLISH', ARGV[4], 'settled ' .. ARGV[6] .. ' ' .. ARGV[5] .. ' ' .. table.concat(elsewhere, ' '))
elseif back then
  call('PUBLISH', ARGV[4], 'group ' .. ARGV[6] .. ' ' .. ARGV[5])
end
for n = 1, #out do
  if out[n] == 0 then return { 'ok', out, back and 1 or 0 } end
end
return { 'ok', {}, back and 1 or 0 }
