-- Takes an event off the catalog, unless somebody put it there anew. KEYS: the catalog. ARGV: the event, as it was put there
if call('HGET', S, ARGV[1]) == ARGV[2] then return call('HDEL', S, ARGV[1]) end
return 0
