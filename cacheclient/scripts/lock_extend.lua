-- Let the public lock live longer, if it is still mine; never shorter, so that a holder who missed the reply to an
-- extension holds the lock for at least as long as it believes.
-- KEYS: 1 lock; ARGV: 1 my holder id; 2 lifetime from now, ms
-- Returns 1 if the lock was mine.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
