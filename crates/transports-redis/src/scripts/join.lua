-- Makes sure of the group, and lets a consumer take over.
-- ARGV: mapped, default age, group, how it starts, the next id, the one before it, the cursor's life, the member that takes
-- over (empty for worker groups), channel, the holder, the steps of its backoff in milliseconds, node
local rec = record(ARGV[1])
if not rec.life then return gone(rec) end
age_out(rec, ARGV[2])
local from = resolve(rec, figures(), ARGV[4], ARGV[5], ARGV[6], ARGV[7])
local create = { 'XGROUP', 'CREATE', S, ARGV[3], from.prev, 'MKSTREAM' }
if from.ordinal >= 0 then
  create[7], create[8] = 'ENTRIESREAD', from.ordinal
end
local made = redis.pcall(unpack(create))
local new = type(made) == 'table' and made.ok ~= nil
if not new and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
if new then
  call('UNLINK', H, T, D, R, W, G)
  call('HSET', H, 'cut', rec.cut or '0-0', 'reads', math.max(from.ordinal, 0))
end
if ARGV[11] ~= '-' then call('HSET', H, 'backoff', ARGV[11]) end
if ARGV[8] ~= '' then
  call('HSET', H, 'member', ARGV[8])
  for _, epoch in ipairs(call('ZRANGE', G, 0, -1)) do end_run(epoch) end
  keep_runs(ARGV[3], 'busgate-' .. ARGV[12])
  local held = call('ZRANGE', T, 0, -1)
  for _, id in ipairs(held) do
    call('ZADD', R, 0, pad(id))
  end
  call('UNLINK', T)
  call('PUBLISH', ARGV[9], 'group ' .. ARGV[8] .. ' ' .. ARGV[10])
end
return { 'ok', rec.life, new and 1 or 0, from.lost and 1 or 0, rec.cut or '' }
