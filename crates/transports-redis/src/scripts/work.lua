-- One turn of a group at one node: gives back, starts leases, takes back what ran out, hands out.
-- ARGV: mapped, life, group, consumer, nonce, how many are wanted, how many bytes, how many may wait for lanes, how long what
-- is read ahead stays ours, channel, the member (consumers only), the holder, node, how many are read at first, whether keys are
-- expected (`1`), how many are given back, how many leases start; then of each given back: id, epoch; of each lease: id, epoch,
-- how long, its state
local rec = record(ARGV[1])
if rec.life ~= ARGV[2] then return gone(rec) end
local group, consumer, want, most = ARGV[3], ARGV[4], tonumber(ARGV[6]), tonumber(ARGV[7])
local max_parked, ahead, keyed = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[15] == '1'
local figure = call('HMGET', H, 'member', 'cut')
if ARGV[11] ~= '' and figure[1] ~= ARGV[11] then return { 'taken' } end
local returns, starts = tonumber(ARGV[16]), tonumber(ARGV[17])
local now, i, came = now_ms(), 18, 0

for _ = 1, returns do
  local id, s = ARGV[i], entry_of(ARGV[i], ARGV[i + 1])
  if s and s.epoch == ARGV[i + 1] and s.state == 'b' and (s.new or call('ZREM', T, id) == 1) then
    if s.new then call('HSET', H, id, write_state(s)) end
    call('ZADD', R, 0, pad(id))
    came = came + 1
  end
  i = i + 2
end
for _ = 1, starts do
  local id, s = ARGV[i], entry_of(ARGV[i], ARGV[i + 1])
  -- What was extended meanwhile runs as long as that says.
  if s and s.epoch == ARGV[i + 1] and s.state == 'b' then
    if ARGV[i + 3] == 'l' then s.state, s.attempts = 'l', s.attempts + 1 end
    if s.new or ARGV[i + 3] == 'l' then call('HSET', H, id, write_state(s)) end
    if s.new or call('ZSCORE', T, id) or call('ZREM', R, pad(id)) == 1 then
      call('ZADD', T, now + tonumber(ARGV[i + 2]), id)
    end
  end
  i = i + 4
end
came = came + promote(now)
keep_runs(group, consumer)

local out, set, timed, epoch, bytes, lost = {}, {}, {}, 0, 0, 0
local begun
local function begin()
  if epoch > 0 then return end
  epoch = call('HINCRBY', H, 'epoch', 1)
  begun = epoch .. '-' .. ARGV[5]
end
local function hand_out(id, attempts, lane, fields)
  begin()
  local n, count = #set, #fields
  set[n + 1], set[n + 2] = id, begun .. ' ' .. attempts .. ' b ' .. lane
  timed[n + 1], timed[n + 2] = now + ahead, id
  out[#out + 1] = { id, attempts + 1, fields }
  -- The payload is the last field of ours; the rest is small.
  bytes = bytes + 256
  for i = 2, count, 2 do bytes = bytes + #fields[i] end
end
local function keep()
  if #set > 0 then
    call('HSET', H, unpack(set))
    call('ZADD', T, unpack(timed))
    set, timed = {}, {}
  end
end

-- What came back goes first, in the order of the stream. What retention or another client took away is told.
local more, aside = 0, call('EXISTS', T, D, R, W) > 0
while aside and #out < want and bytes < most do
  local ready = call('ZRANGE', R, 0, math.min(want - #out, 64) - 1)
  if #ready == 0 then break end
  call('ZREM', R, unpack(ready))
  local ids = {}
  for n, padded in ipairs(ready) do ids[n] = unpad(padded) end
  local got = {}
  local claim = { 'XCLAIM', S, group, consumer, 0, unpack(ids) }
  for _, entry in ipairs(call(unpack(claim))) do
    if entry then got[entry[1]] = entry[2] end
  end
  local states = call('HMGET', H, unpack(ids))
  for n, id in ipairs(ids) do
    local s = read_state(states[n])
    if got[id] and s then
      hand_out(id, s.attempts, s.lane, got[id])
    elseif s then
      if #call('XRANGE', S, id, id) == 0 then lost = lost + 1 end
      call('HDEL', H, id)
      leave_lane(id, s.lane)
    end
  end
  keep()
end

-- Messages that were gone before the group came to them.
local gap, missed = 0, -1
if want > 0 and (rec.native or (rec.cut and figure[2] ~= rec.cut)) then
  local f = figures()
  for _, g in ipairs(call('XINFO', 'GROUPS', S)) do
    local of = {}
    for n = 1, #g, 2 do of[g[n]] = g[n + 1] end
    if of['name'] == group then
      local at = of['last-delivered-id']
      -- The server forgets how many a group has read when it starts again; other clients do not tell us.
      local reads = math.max(of['entries-read'] or 0, tonumber(call('HGET', H, 'reads') or 0))
      local known = of['entries-read'] and f.countable
      local passed = (rec.cut and before(at, rec.cut))
        or (f.first and before(at, f.first) and known and reads < f.added - f.length)
      if passed then
        gap = 1
        if known then missed = math.max(0, f.added - f.length - reads) end
        call('HSET', H, 'reads', f.added - f.length)
        local to = (rec.cut and before(at, rec.cut)) and rec.cut or at
        call('XGROUP', 'SETID', S, group, to, 'ENTRIESREAD', f.added - f.length)
      end
    end
  end
  call('HSET', H, 'cut', rec.cut or '0-0')
end
if lost > 0 then
  missed = gap == 1 and missed < 0 and -1 or math.max(missed, 0) + lost
  gap = 1
end

-- How the name of a key is packed.
local KEY = '\163key'

local function is_small(fields)
  local size = 0
  for n = 2, #fields, 2 do size = size + #fields[n] end
  return size < 4096
end

-- Fresh messages without a key are handed out as a run, unless keys are expected: that costs the server far less than an entry
-- for each. Small ones go as one text, which costs it and the node less than a value for each field; a text without the name of
-- a key in it need not be looked through.
local run, plain, parts, chunk, ended, fresh = {}, {}, {}, tonumber(ARGV[14]), false, 0
local read = { 'XREADGROUP', 'GROUP', group, consumer, 'COUNT', 0, 'STREAMS', S, '>' }
if not keyed then
  read = { 'XREADGROUP', 'GROUP', group, consumer, 'COUNT', 0, 'NOACK', 'STREAMS', S, '>' }
end
while #out + #run + #plain < want and bytes < most and not ended do
  if aside and call('ZCARD', W) >= max_parked then break end
  local count = math.min(want - #out - #run - #plain, chunk)
  read[6] = count
  local got = call(unpack(read))
  local entries = got and got[1] and got[1][2] or {}
  local text = not keyed and #entries > 0 and is_small(entries[1][2]) and cmsgpack.pack(entries)
  local is_plain = text and not string.find(text, KEY, 1, true)
  if is_plain then
    parts[#parts + 1], bytes = text, bytes + #text + 256 * #entries
    for n = 1, #entries do run[#run + 1] = entries[n][1] end
  end
  local keys = {}
  for n = is_plain and #entries + 1 or 1, #entries do
    local entry = entries[n]
    local id, fields, key, size = entry[1], entry[2], nil, 256
    for i = 1, #fields, 2 do
      if fields[i] == 'key' and not key then key = fields[i + 1] end
      size = size + #fields[i + 1]
    end
    if not key and not keyed then
      bytes = bytes + size
      plain[#plain + 1] = entry
    elseif not key then
      hand_out(id, 0, '', fields)
    else
      local lane = redis.sha1hex(key)
      aside, keys[#keys + 1] = true, id
      if call('HSETNX', H, 'k' .. lane, id) == 1 then
        hand_out(id, 0, lane, fields)
      else
        call('HSET', H, id, '0 0 p ' .. lane)
        call('ZADD', W, 0, lane .. pad(id))
      end
    end
  end
  if not keyed then make_pending(group, consumer, keys) end
  ended = #entries < count
  fresh = fresh + #entries
  -- As many more as fit, by the size of those so far.
  if bytes > 0 then
    local each = bytes / math.max(#out + #run + #plain, 1)
    chunk = math.max(1, math.min(256, math.floor((most - bytes) / each)))
  end
end
keep()
if #plain > 0 then parts[#parts + 1] = is_small(plain[1][2]) and cmsgpack.pack(plain) or plain end
for n = 1, #plain do run[#run + 1] = plain[n][1] end
if #run > 0 then
  begin()
  keep_new_run(H, G, begun, run, now + ahead)
end
if fresh > 0 then call('HINCRBY', H, 'reads', fresh) end
if not ended and want > 0 then more = 1 end
if ended and want > 0 then wait_for_more(rec, ARGV[13]) end

-- When to come again, and whether others may find something.
local due = -1
for _, z in ipairs({ T, D, G }) do
  local first = call('ZRANGE', z, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(0, tonumber(first[2]) - now)
    if due < 0 or left < due then due = left end
  end
end
if came > 0 and call('ZCARD', R) > 0 then
  call('PUBLISH', ARGV[10], 'group ' .. ARGV[13] .. ' ' .. ARGV[12])
end
return { 'ok', epoch, out, due, more, gap, missed, rec.cut or '', parts }
