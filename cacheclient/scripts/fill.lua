-- Store a loaded value, only if nothing happened to the key since its lease was granted (compare-and-set).
-- KEYS[1] entry; ARGV: 1 write id that must stand there (8 bytes); 2 the value entry; 3 lifetime, ms (0: what is left of the old one)
-- Returns 1 if stored. An invalidation, a newer write or an expired lease leaves another write id, or nothing: then 0.
local entry = redis.call('GETRANGE', KEYS[1], 1, 8)
if entry ~= ARGV[1] then
  return 0
end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
