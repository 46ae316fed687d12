-- Read a value, or become the one who loads it.
-- KEYS[1] entry; ARGV: 1 my write id (8 bytes); 2 lease, ms; 3 readable format and codec (2 bytes)
--  4 write id of a value whose payload did not decode, or ''
-- Returns the value entry; 'L' .. write id of another holder's lease; or 'G' when the lease is now mine.
-- A lease is at most one a key: whoever finds nothing, a tombstone, or a value it cannot read, replaces it.
local entry = redis.call('GET', KEYS[1])
if entry then
  local state = string.sub(entry, 1, 1)
  if state == 'L' and #entry == 9 then -- longer is no lease, and nobody would ever fill it
    return entry
  end
  if state == 'V' and string.sub(entry, 10, 11) == ARGV[3] and string.sub(entry, 2, 9) ~= ARGV[4] then
    return entry
  end
end
redis.call('SET', KEYS[1], 'L' .. ARGV[1], 'PX', ARGV[2])
return 'G'
