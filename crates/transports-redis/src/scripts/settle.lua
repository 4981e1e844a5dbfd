-- Settles a batch of one group. ARGV: mapped, life, group, channel, the holder, node, then acks of what is held here: an epoch,
-- what `apart` was when they were read (empty: look at each), how many, their ids, and so on until an epoch is empty; then of
-- each of the others: id, epoch, verb, a time, whether nobody holds it here. It answers one number each, none when all are done
local rec = record(ARGV[1])
if rec.life ~= ARGV[2] then return gone(rec) end
local now, known, out = now_ms(), {}, {}
local acks, back, elsewhere = {}, false, {}

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

-- Acks of what this node holds come by epoch: most have no entry, or need no more than a comparison.
local at, held, twice = 7, 0, {}
while ARGV[at] ~= '' do
  local epoch, from, to = ARGV[at], at + 3, at + 2 + tonumber(ARGV[at + 2])
  local figure = call('HMGET', H, 'born', 'apart')
  local plain, start, texts = figure[1] == epoch, epoch .. ' ', {}
  local untouched = plain and ARGV[at + 1] == (figure[2] or '0')
  if untouched then
    -- Who else may have acked one is a client that is none of ours: it is done all the same.
    call('XACK', S, ARGV[3], unpack(ARGV, from, to))
  else
    texts = call('HMGET', H, unpack(ARGV, from, to))
  end
  for i = from, to do
    local id, text = ARGV[i], texts[i - from + 1]
    held = held + 1
    if untouched then
      out[held] = 1
    elseif not text then
      -- Whether it is pending is all there is to it.
      out[held] = plain and call('XACK', S, ARGV[3], id) or 0
    elseif string.sub(text, 1, #start) ~= start or twice[id] then
      out[held] = 0
    else
      out[held], twice[id] = 1, true
      acks[#acks + 1] = id
      -- Without a lane it ends with the space before it.
      if string.byte(text, -1) ~= 32 and leave_lane(id, read_state(text).lane) then back = true end
    end
  end
  at = to + 1
end

local born
for from = at + 1, #ARGV, 2500 do
  local ids, n = { 'born' }, 1
  for i = from, math.min(from + 2495, #ARGV), 5 do
    n = n + 1
    ids[n] = ARGV[i]
  end
  local texts = call('HMGET', H, unpack(ids))
  born = texts[1]
  for n = 2, #ids do known[ids[n]] = texts[n] end
end

for i = at + 1, #ARGV, 5 do
  local id, epoch, verb = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local text = known[id]
  local n = #out + 1
  if text == false and epoch == born then
    -- It has no entry: whether it is pending is all there is to it.
    if verb == 'ack' then
      out[n] = call('XACK', S, ARGV[3], id)
      if out[n] == 1 and ARGV[i + 4] == '1' then
        elsewhere[#elsewhere + 1] = id
        set_apart()
      end
      text = nil
    else
      local s = entry_of(ARGV[3], id, epoch, born)
      if s then
        text = write_state(s)
        call('HSET', H, id, text)
        call('ZADD', T, now, id)
        set_apart()
      end
    end
  end
  if out[n] then
    -- That was all.
  elseif not text or string.sub(text, 1, #epoch + 1) ~= epoch .. ' ' then
    out[n] = 0
  elseif verb == 'ack' then
    out[n] = 1
    acks[#acks + 1] = id
    known[id] = nil
    if string.byte(text, -1) ~= 32 and leave_lane(id, read_state(text).lane) then back = true end
    if ARGV[i + 4] == '1' then elsewhere[#elsewhere + 1] = id end
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
