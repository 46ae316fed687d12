-- Give a lease back after a failed load, so that the next caller need not wait for it to expire.
-- KEYS[1] entry; ARGV: 1 my write id (8 bytes)
-- Returns 1 if the lease was still mine.
if redis.call('GET', KEYS[1]) ~= 'L' .. ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
