-- Adds a batch. KEYS: stream, record, ids, earlier ids, marks, then those of the group that takes it.
-- ARGV: mapped, channel, defaults (dedup, age, bytes, messages), most ids, node, how many messages, whether an id is among them
-- twice, when the first and the last of the ids was made, the group that takes what is added if nothing goes before it (empty:
-- none), the life that it knows, nonce, how long it stays ours, the ids as they are remembered, then runs of messages that are
-- alike but for id and payload: how many, what each weighs besides, how many arguments of XADD they share, those, then the id
-- and the payload of each
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
    return call('HMGET', ids, unpack(ARGV, 17, 16 + count))
  end
  one = look_in(I0, last_made)
  if call('EXISTS', I1) == 1 then two = look_in(I1, call('HGET', I1, LAST)) end
end

local out, remember, added, bytes = {}, {}, 0, 0
local limit = rec.native and 0 or tonumber(rec.bytes or ARGV[5])
-- Only ids that are in the batch twice need to be looked for in it.
local seen = ARGV[10] == '1' and {}
local n, at = 0, 17 + count
while n < count do
  local many, besides, shared = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  local last = 7 + shared
  local add = { 'XADD', S, '*', 'id', '', unpack(ARGV, at + 3, at + 2 + shared) }
  add[last - 1] = 'payload'
  at = at + 3 + shared
  for i = at, at + 2 * many - 2, 2 do
    n = n + 1
    local id = ARGV[16 + n]
    local first = one[n] or two[n]
    if first and now - tonumber(string.match(first, '^%d+')) >= window then first = nil end
    if seen and window > 0 then first = seen[id] or first end
    if first then
      out[n] = '=' .. first
    else
      local place
      if last == 9 then
        -- Most have no more than a time beside id and payload.
        place = call('XADD', S, '*', 'id', ARGV[i], add[6], add[7], 'payload', ARGV[i + 1])
      else
        add[5], add[last] = ARGV[i], ARGV[i + 1]
        place = call(unpack(add, 1, last))
      end
      out[n] = place
      added = added + 1
      if limit > 0 then bytes = bytes + besides + #ARGV[i] + #ARGV[i + 1] end
      remember[2 * added - 1], remember[2 * added] = id, place
      if seen then seen[id] = place end
    end
  end
  at = at + 2 * many
end
if added == 0 then return { 'ok', rec.life, table.concat(out, ' '), 0 } end
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

-- The group takes what was added as a run, when that is all it has not come to, and nothing is ready or was lost before it.
-- Answers its turn, or nothing.
local function take(group, life, nonce, ahead)
  local H, R, G = KEYS[6], KEYS[9], KEYS[11]
  if rec.life ~= life or rec.native or call('EXISTS', R) == 1 then return 0 end
  local groups = call('XINFO', 'GROUPS', S)
  for n = 1, math.min(#groups, 16) do
    local of = {}
    for m = 1, #groups[n], 2 do of[groups[n][m]] = groups[n][m + 1] end
    if of['name'] == group then
      local at, run = of['last-delivered-id'], {}
      for m = 1, count do
        if string.byte(out[m]) ~= 61 then run[#run + 1] = out[m] end
      end
      local next = call('XRANGE', S, '(' .. at, '+', 'COUNT', 1)[1]
      if not next or next[1] ~= run[1] or (rec.cut and before(at, rec.cut)) then return 0 end
      local set = { 'XGROUP', 'SETID', S, group, run[#run] }
      if of['entries-read'] then set[6], set[7] = 'ENTRIESREAD', of['entries-read'] + #run end
      call(unpack(set))
      local turn = call('HINCRBY', H, 'epoch', 1)
      call('HINCRBY', H, 'reads', #run)
      keep_new_run(H, G, turn .. '-' .. nonce, run, now_ms() + ahead)
      return turn
    end
  end
  return 0
end

local turn = ARGV[13] ~= '' and take(ARGV[13], ARGV[14], ARGV[15], tonumber(ARGV[16])) or 0
return { 'ok', rec.life, table.concat(out, ' '), turn }
