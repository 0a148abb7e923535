-- Script for wrk: posts the files 0, 1, … of a folder in turn, and prints one line of JSON at the end.
-- wrk … -s load.lua URL -- FOLDER COUNT CONTENT-TYPE

local requests = {}
local turn = 0

function init(args)
  local headers = { ["Content-Type"] = args[3] }
  for i = 0, tonumber(args[2]) - 1 do
    local file = assert(io.open(args[1] .. "/" .. i, "rb"))
    requests[#requests + 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
