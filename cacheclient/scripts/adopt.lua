-- Store a copy of an entry of another version, unless the key has something at least as new.
-- KEYS[1] entry; ARGV: 1 the value entry; 2 lifetime, ms (0: for ever)
-- Returns 1 if stored. A lease (whoever holds it reads the source now) and a tombstone stay, and so does what is no entry.
local found = redis.call('GETRANGE', KEYS[1], 0, 19)
if found ~= '' then
  if #found < 20 or string.sub(found, 1, 1) ~= 'V' then
    return 0
  end
  if struct.unpack('>I8', found, 13) >= struct.unpack('>I8', ARGV[1], 13) then
    return 0
  end
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
