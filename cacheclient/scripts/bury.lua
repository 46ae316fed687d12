-- Invalidate keys that a scan found: a tombstone over each that still exists.
-- KEYS entries; ARGV: 1 write id (8 bytes); 2 ms the tombstones live
-- Returns how many were buried. A key that is gone needs no tombstone: whoever loads it now reads the source now.
local buried = 0
for _, key in ipairs(KEYS) do
  if redis.call('SET', key, 'T' .. ARGV[1], 'XX', 'PX', ARGV[2]) then
    buried = buried + 1
  end
end
return buried
