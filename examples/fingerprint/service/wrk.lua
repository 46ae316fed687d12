-- What each connection asks for, and the result as one line of JSON. Arguments: a file with one path a line.
local paths, at = {}, 0
function init(arguments)
  for path in io.lines(arguments[1]) do
    paths[#paths + 1] = wrk.format('GET', path)
  end
end
function request()
  at = at % #paths + 1
  return paths[at]
end
function done(summary, latency)
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50":%f,"p95":%f,"p99":%f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(95) / 1e6,
    latency:percentile(99) / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
