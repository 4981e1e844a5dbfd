-- Forgets the event. KEYS from 3: everything beside it. ARGV: channel, how long others can see that it is gone
local known = call('HMGET', E, 'life', 'native')
if not known[1] then return { 'none' } end
for i = 3, #KEYS do call('UNLINK', KEYS[i]) end
if known[2] ~= '1' then call('UNLINK', S) end
call('DEL', E)
call('HSET', E, 'gone', known[1])
call('PEXPIRE', E, ARGV[2])
call('PUBLISH', ARGV[1], 'end')
return { 'ok', known[1] }
