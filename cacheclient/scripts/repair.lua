-- After a failover: is what was set still there? If something else is, nobody knows whether it is older: forget it.
-- KEYS[1] entry; ARGV: 1 write id that was acknowledged (8 bytes); 2 write id of the tombstone (8 bytes); 3 ms it lives
-- Returns 1 if a tombstone was stored.
local found = redis.call('GETRANGE', KEYS[1], 1, 8)
if found == ARGV[1] or found == '' then
  return 0
end
redis.call('SET', KEYS[1], 'T' .. ARGV[2], 'PX', ARGV[3])
return 1
