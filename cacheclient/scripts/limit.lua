-- Count a hit against a limit: the generic cell rate algorithm, as a leaky bucket (ITU-T I.371). See cacheclient/gcra.py,
-- which decides the same; whole numbers below 2^53 throughout, so nothing is rounded.
-- KEYS[1] bucket: 'level weight time', time in ms; ARGV: 1 what a hit weighs; 2 what a millisecond drains; 3 size of the
--  bucket; 4 cost of this hit; 5 '1' to count it, '0' to look only
-- Returns {1 if it passes, hits that would pass after it, ms until it would pass (-1: never), ms until the bucket is empty}.
-- A hit that does not pass is not stored: whoever hammers costs no memory and no replication.
local weight, drain, size = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local asked, take = tonumber(ARGV[4]) * weight, ARGV[5] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local level, put_back = 0, false
local was, weighed, at = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) (%d+)$')
if was then
  level, weighed, at = tonumber(was), tonumber(weighed), tonumber(at)
  if weighed ~= weight then
    level = math.ceil(level * weight / weighed) -- another limit: as many hits as before
  end
  put_back = now < at -- the clock was: this server's, or another one's before a failover
  level = math.max(0, level - math.max(0, now - at) * drain)
end
local over = level + asked - size
local passes = over <= 0
if passes and take then
  level = level + asked
end
local empty_in = math.ceil(level / drain)
if level > 0 and (put_back or (passes and take)) then
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f', level, weight, now), 'PX', string.format('%.0f', empty_in))
end
local wait = 0
if not passes then
  wait = asked > size and -1 or math.ceil(over / drain)
end
return {passes and 1 or 0, math.max(0, math.floor((size - level) / weight)), wait, empty_in}
