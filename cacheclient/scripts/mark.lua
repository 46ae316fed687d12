-- Read the token of a tag, or give it one.
-- KEYS[1] marker; ARGV: 1 a new token (8 bytes); 2 ms the marker must live at least, 0 for ever
-- Returns {token, ms it lives (-1: for ever)}. A marker that expired or was evicted gets a new token: what was tagged before is then a
-- miss, never a wrong hit.
-- A life given is twice the one asked for: each change of a marker, its expiry too, is pushed to every process, which
-- forgets the token and must ask again; so most who ask must find it long enough.
local token = redis.call('GET', KEYS[1])
local least = tonumber(ARGV[2])
if least == 0 then
  -- No expiry: the policy volatile-lfu never evicts it. The marker of a namespace is asked for rarely, as each process
  -- remembers it, so it would be among the first to go, and with it every entry of the namespace.
  if not token then
    redis.call('SET', KEYS[1], ARGV[1])
  else
    redis.call('PERSIST', KEYS[1])
  end
  return {token or ARGV[1], -1}
end
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
