-- Reads a page. ARGV: mapped, default age, how it starts (beginning, latest, time, after, on), the next id, the one before
-- it, the life of the cursor, how many are before it (-1: unknown), how many messages at most, how many bytes, node (empty
-- when nobody waits for more)
local rec = record(ARGV[1])
if not rec.life then return gone(rec) end
age_out(rec, ARGV[2])
local kind, next, life, ordinal = ARGV[3], ARGV[4], ARGV[6], tonumber(ARGV[7])
local limit, most = tonumber(ARGV[8]), tonumber(ARGV[9])
local from, lost, missed, last = nil, false, -1, ''
if kind == 'on' then
  -- On its way a reader needs the figures only when something may have gone.
  if life ~= rec.life then return gone(rec) end
  from = { next = next, ordinal = ordinal }
  if rec.native or (rec.cut and not before(rec.cut, next)) then
    local f = figures()
    if is_lost(rec, f, next) then
      from, lost = resolve(rec, f, 'beginning'), true
      if ordinal >= 0 and from.ordinal >= 0 then missed = from.ordinal - ordinal end
    end
  end
else
  local f = figures()
  from = resolve(rec, f, kind, next, ARGV[5], life)
  lost, last = from.lost, f.last
end

local out, bytes, start, ended = {}, 0, (from.strict and '(' or '') .. from.next, false
if kind == 'latest' then limit, ended = 0, true end
while #out < limit and not ended do
  local chunk = math.min(limit - #out, 32)
  local page = call('XRANGE', S, start, '+', 'COUNT', chunk)
  for _, entry in ipairs(page) do
    local size = 64
    for _, text in ipairs(entry[2]) do size = size + #text end
    if #out > 0 and bytes + size > most then limit = #out break end
    bytes = bytes + size
    out[#out + 1] = entry
    start = '(' .. entry[1]
  end
  if #page < chunk then ended = true end
end
if #out == limit then ended = #call('XRANGE', S, start, '+', 'COUNT', 1) == 0 end
if ended and ARGV[10] ~= '' then wait_for_more(rec, ARGV[10]) end
return { 'ok', rec.life, lost and 1 or 0, missed, ended and 1 or 0, from.prev or '', from.next, from.strict and 1 or 0, last,
  from.ordinal, #out > 0 and bytes < #out * 4096 and cmsgpack.pack(out) or out }
