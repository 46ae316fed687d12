-- Give the public lock back, if it is still mine.
-- KEYS: 1 lock; ARGV: 1 my holder id
-- Returns 1 if the lock was mine.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
