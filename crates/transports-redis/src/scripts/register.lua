-- Makes the event known. ARGV: life, whether anything is asked for, dedup, age, bytes, messages (empty: not asked for)
local kind = call('TYPE', S).ok
if kind ~= 'stream' and kind ~= 'none' then return { 'type', kind } end
local names = { 'dedup', 'age', 'bytes', 'messages' }
local known = call('HMGET', E, 'life', 'dedup', 'age', 'bytes', 'messages', 'gone')
if known[1] then
  if ARGV[2] == '1' then
    for i = 1, 4 do
      if (known[i + 1] or '') ~= ARGV[i + 2] then return { 'exists' } end
    end
  end
  return { 'ok', known[1] }
end
local life, native = ARGV[1], '0'
if kind == 'none' then
  call('XGROUP', 'CREATE', S, 'busgate', '$', 'MKSTREAM')
  call('XGROUP', 'DESTROY', S, 'busgate')
else
  life, native = '0', '1'
end
call('DEL', E)
call('HSET', E, 'life', life, 'native', native, 'after', known[6] or '')
for i, name in ipairs(names) do
  if ARGV[i + 2] ~= '' then call('HSET', E, name, ARGV[i + 2]) end
end
return { 'ok', life }
