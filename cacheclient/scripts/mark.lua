-- Read the token of a tag, or give it one.
-- KEYS[1] marker; ARGV: 1 a new token (8 bytes); 2 ms the marker must live at least
-- Returns {token, ms it lives}. A marker that expired or was evicted gets a new token: what was tagged before is then a
-- miss, never a wrong hit.
-- A life given is twice the one asked for: each change of a marker, its expiry too, is pushed to every process, which
-- forgets the token and must ask again; so most who ask must find it long enough.
local token = redis.call('GET', KEYS[1])
local least = tonumber(ARGV[2])
if not token then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', 2 * least)
  return {ARGV[1], 2 * least}
end
local left = redis.call('PTTL', KEYS[1])
if left < least then
  redis.call('PEXPIRE', KEYS[1], 2 * least)
  left = 2 * least
end
return {token, left}
