-- Sends the prepared requests of the file in the first argument, in turn; prints one line of JSON at the end.
local requests, count, at = {}, 0, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local size = file:read(8)
  while size do
    count = count + 1
    requests[count] = file:read(tonumber(size))
    size = file:read(8)
  end
  file:close()
end

function request()
  at = at % count + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"status":%d,"reset":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
