-- wrk's script: a GET for each path of a file in turn, or POSTs of URLs that nobody sent before.
-- wrk ... -s requests.lua <url> -- <file of paths | POST>

local counter = 0
local requests = {}
local posting = false

function init(args)
  math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) % 100000)
  posting = args[1] == "POST"
  if posting then
    wrk.method, wrk.path = "POST", "/links"
    wrk.headers["Content-Type"] = "application/json"
    prefix = string.format('{"url":"https://example.com/%08x/', math.random(0, 0x7fffffff))
    return
  end
  for path in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
  counter = math.random(#requests)
end

function request()
  counter = counter + 1
  if posting then
    return wrk.format(nil, nil, nil, prefix .. counter .. '"}')
  end
  return requests[counter % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    latency.max / 1000, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
