-- Adds a batch. KEYS: stream, record, ids, earlier ids, marks.
-- ARGV: mapped, channel, defaults (dedup, age, bytes, messages), most ids, node, how many messages, then of each: its
-- bytes, how many arguments, the arguments of XADD, which begin with its id
local I0, I1, M = KEYS[3], KEYS[4], KEYS[5]
local rec = record(ARGV[1])
if not rec.life then return gone(rec) end
local window, most, count = tonumber(rec.dedup or ARGV[3]), tonumber(ARGV[7]), tonumber(ARGV[9])

local at, ids, now = {}, {}, 0
do
  local i = 10
  for n = 1, count do
    at[n], ids[n] = i, ARGV[i + 3]
    i = i + 2 + tonumber(ARGV[i + 1])
  end
end

-- Ids are remembered in two hashes that take turns, so that they need no clearing one by one.
local seen, earlier = {}, {}
if window > 0 then
  now = now_ms()
  local turn = tonumber(call('HGET', I0, '') or 0)
  if turn == 0 or now - turn >= window or call('HLEN', I0) > most / 2 then
    if turn ~= 0 then
      call('UNLINK', I1)
      call('RENAME', I0, I1)
    end
    call('HSET', I0, '', now)
    call('PEXPIRE', I0, window * 2 + 1000)
  end
  local one, two = call('HMGET', I0, unpack(ids)), call('HMGET', I1, unpack(ids))
  for n = 1, count do
    local id = one[n] or two[n]
    if id and now - tonumber(string.match(id, '^%d+')) < window then earlier[n] = id end
  end
end

local out, remember, added, bytes = {}, {}, 0, 0
for n = 1, count do
  local i, id = at[n], ids[n]
  local first = window > 0 and (seen[id] or earlier[n])
  if first then
    out[n] = '=' .. first
  else
    local place = call('XADD', S, '*', unpack(ARGV, i + 2, i + 1 + tonumber(ARGV[i + 1])))
    out[n] = place
    added, bytes = added + 1, bytes + tonumber(ARGV[i])
    if window > 0 then
      seen[id] = place
      remember[2 * added - 1], remember[2 * added] = id, place
    end
  end
end
if added == 0 then return { 'ok', rec.life, table.concat(out, ' ') } end
if #remember > 0 then call('HSET', I0, unpack(remember)) end
if not rec.native then
  age_out(rec, ARGV[4])
  local limit = tonumber(rec.bytes or ARGV[5])
  if limit > 0 then
    -- A mark for each 64th of the limit says how many bytes there were up to a message.
    local total = call('HINCRBY', E, 'total', bytes)
    local marked = tonumber(call('HGET', E, 'marked') or 0)
    if total - marked >= limit / 64 then
      call('RPUSH', M, out[count] .. ' ' .. total)
      call('HSET', E, 'marked', total)
    end
    local dropped
    while true do
      local mark = call('LINDEX', M, 0)
      local id, upto = string.match(mark or '', '^(%S+) (%d+)$')
      if not id or total - tonumber(call('HGET', E, 'dropped') or 0) <= limit then break end
      call('LPOP', M)
      call('HSET', E, 'dropped', upto)
      dropped = string.gsub(id, '^=', '')
    end
    if dropped then
      local last = call('XREVRANGE', S, '(' .. dropped, '-', 'COUNT', 1)[1]
      if last then cut(rec, last[1], call('XTRIM', S, 'MINID', '=', dropped)) end
    end
  end
  local hold = tonumber(rec.messages or ARGV[6])
  local over = hold > 0 and call('XLEN', S) - hold or 0
  if over > 0 and over >= math.min(hold / 64, 256) then
    local trimmed = call('XTRIM', S, 'MAXLEN', '=', hold + 1)
    local last = call('XRANGE', S, '-', '+', 'COUNT', 1)[1][1]
    cut(rec, last, trimmed + call('XTRIM', S, 'MAXLEN', '=', hold))
  end
end
-- The node itself sees from the answer that there is more.
if rec.waits and rec.waits ~= ARGV[8] then
  call('HDEL', E, 'waits')
  call('PUBLISH', ARGV[2], 'new ' .. ARGV[8])
end
return { 'ok', rec.life, table.concat(out, ' ') }
