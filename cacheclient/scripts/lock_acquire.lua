-- Take the public lock, and draw its fencing token in the same step.
-- KEYS: 1 lock, 2 its last token; ARGV: 1 my holder id; 2 lifetime of the lock, ms; 3 lifetime of the last token, ms
-- Returns {1, token}; or {0, ms until the other holder's lock expires}.
-- Asking again with the same holder id is safe: the reply to the first request may have been lost.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {0, redis.call('PTTL', KEYS[1])}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
-- The counter makes tokens rise although the clock may step back. The clock, in microseconds, makes them rise although
-- the counter may lose its last values: in a failover, to eviction, or because nobody used the lock for long.
local now = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local token = math.max(last + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[2], string.format('%.0f', token), 'PX', ARGV[3])
return {1, token}
