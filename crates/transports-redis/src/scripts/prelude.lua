-- What every script begins with. KEYS[1] is the event's stream, KEYS[2] its record.
local call = redis.call
local S, E = KEYS[1], KEYS[2]

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The event's record, or nothing when there is no such event. A stream that is there without a record is an event of
-- life 0, as is a mapped one that is not there yet.
local function record(mapped)
  local r = call('HMGET', E, 'life', 'dedup', 'age', 'bytes', 'messages', 'native', 'cut', 'waits')
  local rec = { life = r[1], dedup = r[2], age = r[3], bytes = r[4], messages = r[5], native = r[6] == '1',
    cut = r[7], waits = r[8] }
  if not rec.life and (mapped == '1' or call('EXISTS', S) == 1) then
    rec.life, rec.native = '0', true
  end
  return rec
end

-- What is answered when there is no such event, or another life of it.
local function gone(rec)
  local r = call('HMGET', E, 'gone', 'after')
  return { 'gone', r[1] or '', rec.life or '', r[2] or '' }
end

-- Whoever found the end wants to be told of what comes next: `waits` is the node, or `*` when there are several.
local function wait_for_more(rec, node)
  if rec.waits == node or rec.waits == '*' then return end
  call('HSET', E, 'waits', rec.waits and '*' or node)
end

-- Ids, padded so that they sort as text.
local function pad(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
end

local function unpad(padded)
  local ms, seq = string.match(padded, '^0*(%d+)-0*(%d+)$')
  return ms .. '-' .. seq
end

local function before(a, b)
  return pad(a) < pad(b)
end

-- Remembers up to where messages are gone.
local function cut(rec, id, count)
  rec.cut = id
  call('HSET', E, 'cut', id)
  call('HINCRBY', E, 'trimmed', count)
end

-- Lets go of what is older than the event holds.
local function age_out(rec, default)
  local age = tonumber(rec.age or default)
  if rec.native or not rec.life or age == 0 then return end
  local floor = string.format('%.0f', now_ms() - age)
  local last = call('XREVRANGE', S, '(' .. floor .. '-0', '-', 'COUNT', 1)[1]
  if last then cut(rec, last[1], call('XTRIM', S, 'MINID', '=', floor)) end
end

-- The stream's figures: its last id, how many were ever added, how many it holds. Nothing when a message was deleted
-- from its midst, for then places can't be counted.
local function figures()
  local f = { last = '0-0', added = 0, length = 0, countable = true }
  if call('EXISTS', S) == 0 then return f end
  local info = call('XINFO', 'STREAM', S)
  for i = 1, #info, 2 do
    local name, value = info[i], info[i + 1]
    if name == 'last-generated-id' then f.last = value
    elseif name == 'entries-added' then f.added = value
    elseif name == 'length' then f.length = value
    elseif name == 'recorded-first-entry-id' then f.first = value
    elseif name == 'max-deleted-entry-id' then f.countable = value == '0-0'
    end
  end
  if f.length == 0 then f.first = nil end
  return f
end

-- Whether anything from `next` on is gone. What we trimmed is known by its last id; of what others trimmed is known
-- only that it was before the first message held.
local function is_lost(rec, f, next)
  if rec.cut and not before(rec.cut, next) then return true end
  local trimmed = tonumber(call('HGET', E, 'trimmed') or 0)
  if f.added - f.length <= trimmed or not f.countable then return false end
  return f.first ~= nil and before(next, f.first)
end

local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
  return nil
end

-- The first message of a time, by the time it was published at: a little later it got its id, or a little earlier when the
-- server's clock is behind. Answers the last id before it as well; nothing when there are too many to look at.
local function first_of(time)
  local from = math.max(0, time - 1000)
  local start, before_it, seen = string.format('%.0f-0', from), nil, 0
  before_it = string.format('%.0f-18446744073709551615', math.max(0, from - 1))
  while seen < 2000 do
    local page = call('XRANGE', S, start, '+', 'COUNT', 50)
    for _, entry in ipairs(page) do
      local at = tonumber(field(entry[2], 'ts') or string.match(entry[1], '^%d+'))
      if (at or 0) >= time then return entry[1], before_it end
      before_it = entry[1]
    end
    if #page < 50 then return nil end
    seen, start = seen + 50, '(' .. page[50][1]
  end
  return string.format('%.0f-0', time), string.format('%.0f-18446744073709551615', time - 1)
end

-- Where a reader begins: the id its first message has at least (or, strictly, is after), the id before that, whether something was lost, and how
-- many messages of the stream are before it (-1 when that is not known).
local function resolve(rec, f, kind, next, prev, life)
  local oldest = { next = rec.cut or '0-0', prev = rec.cut or '0-0', strict = rec.cut and true,
    ordinal = f.countable and f.added - f.length or -1 }
  if kind == 'beginning' then return oldest end
  local latest = { next = f.last, prev = f.last, strict = true, ordinal = f.countable and f.added or -1 }
  if kind == 'time' then
    next, prev = first_of(tonumber(string.match(next, '^%d+')))
  end
  if kind == 'latest' or not next then return latest end
  if kind == 'after' then
    if life ~= rec.life or is_lost(rec, f, next) then
      oldest.lost = true
      return oldest
    end
    -- A failover has lost what the reader had: what comes next is new to it.
    if before(f.last, prev) then
      latest.lost = true
      return latest
    end
  end
  if rec.cut and before(prev, rec.cut) then return oldest end
  return { next = next, prev = prev, ordinal = -1 }
end

-- Writes a run, as `group.lua` describes it: these ids, until then.
local function keep_new_run(H, G, epoch, ids, till)
  -- What is left of the last byte stands for nothing.
  local last = #ids % 8 > 0 and string.char(256 - 2 ^ (#ids % 8)) or ''
  call('HSET', H, 'i' .. epoch, table.concat(ids, ' '), 'd' .. epoch, string.rep('\0', math.floor(#ids / 8)) .. last)
  call('ZADD', G, till, epoch)
end
