-- Invalidate keys that a scan found: a tombstone over each that still exists.
-- KEYS entries; ARGV: 1 write id (8 bytes); 2 ms the tombstones live
-- Returns how many of them held a value. A key that is gone needs no tombstone: whoever loads it now reads the source now.
local values = 0
for _, key in ipairs(KEYS) do
  local state = redis.pcall('GETRANGE', key, 0, 0) -- an error where the key is of a type that is not ours
  if redis.call('SET', key, 'T' .. ARGV[1], 'XX', 'PX', ARGV[2]) and state == 'V' then
    values = values + 1
  end
end
return values
