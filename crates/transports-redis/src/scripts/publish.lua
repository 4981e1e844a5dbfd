-- Adds a batch. KEYS: stream, record, ids, earlier ids, marks.
-- ARGV: mapped, channel, defaults (dedup, age, bytes, messages), most ids, node, how many messages, whether an id is among them
-- twice, when the first and the last of the ids was made, the ids as they are remembered, then runs of messages that are alike
-- but for id and payload: how many, what each weighs besides, how many arguments of XADD they share, those, then the id and the
-- payload of each
local I0, I1, M = KEYS[3], KEYS[4], KEYS[5]
local rec = record(ARGV[1])
if not rec.life then return gone(rec) end
local window, most, count = tonumber(rec.dedup or ARGV[3]), tonumber(ARGV[7]), tonumber(ARGV[9])

-- Ids are remembered in two hashes that take turns, so that they need no clearing one by one. Each tells, under a name that is
-- no id, when the last of its ids was made that tells its time: what was made later is not in it.
local LAST = '\254'
local one, two, now, last_made = {}, {}, 0, nil
if window > 0 then
  now = now_ms()
  local turn
  turn, last_made = unpack(call('HMGET', I0, '', LAST))
  turn = tonumber(turn or 0)
  if turn == 0 or now - turn >= window or call('HLEN', I0) - 2 >= most / 2 then
    if turn ~= 0 then
      call('UNLINK', I1)
      call('RENAME', I0, I1)
    end
    last_made = '0'
    call('HSET', I0, '', now, LAST, last_made)
    call('PEXPIRE', I0, window * 2 + 1000)
  end
  local made = tonumber(ARGV[11])
  local function look_in(ids, last)
    if last and made > tonumber(last) then return {} end
    return call('HMGET', ids, unpack(ARGV, 13, 12 + count))
  end
  one = look_in(I0, last_made)
  if call('EXISTS', I1) == 1 then two = look_in(I1, call('HGET', I1, LAST)) end
end

local out, remember, added, bytes = {}, {}, 0, 0
local limit = rec.native and 0 or tonumber(rec.bytes or ARGV[5])
-- Only ids that are in the batch twice need to be looked for in it.
local seen = ARGV[10] == '1' and {}
local n, at = 0, 13 + count
while n < count do
  local many, besides, shared = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  local last = 7 + shared
  local add = { 'XADD', S, '*', 'id', '', unpack(ARGV, at + 3, at + 2 + shared) }
  add[last - 1] = 'payload'
  at = at + 3 + shared
  for i = at, at + 2 * many - 2, 2 do
    n = n + 1
    local id = ARGV[12 + n]
    local first = one[n] or two[n]
    if first and now - tonumber(string.match(first, '^%d+')) >= window then first = nil end
    if seen and window > 0 then first = seen[id] or first end
    if first then
      out[n] = '=' .. first
    else
      add[5], add[last] = ARGV[i], ARGV[i + 1]
      local place = call(unpack(add, 1, last))
      out[n] = place
      added = added + 1
      if limit > 0 then bytes = bytes + besides + #ARGV[i] + #ARGV[i + 1] end
      remember[2 * added - 1], remember[2 * added] = id, place
      if seen then seen[id] = place end
    end
  end
  at = at + 2 * many
end
if added == 0 then return { 'ok', rec.life, table.concat(out, ' ') } end
if window > 0 then
  if last_made and tonumber(ARGV[12]) > tonumber(last_made) then
    remember[2 * added + 1], remember[2 * added + 2] = LAST, ARGV[12]
  end
  call('HSET', I0, unpack(remember))
end
if not rec.native then
  age_out(rec, ARGV[4])
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
