-- What wrk sends: messages of random devices, each later than the one before, and at the end its figures as JSON.
--   wrk ... -s post.lua http://host:port/ -- <path> <form> <messages a request> <time of the first, ms> <devices>
-- The forms say the same in the way each server likes it: `json`, `ndjson` and `array` are Heatfleet's message, `vm` is
-- VictoriaMetrics' JSON line, `line` is InfluxDB's line protocol. A batch is built once for each tenth of the fleet;
-- before it is sent again only its times are written over, in place, so that the generator leaves the processor to the
-- server.

local ffi = require("ffi")

local BATCHES = 10
local HEAD = "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
local MESSAGE = '{"bizCode":"devicePropertyMessage","bizData":{"devId":"bfadafebb608a%09d","productId":"ixhko1cls7lzp%03d",'
  .. '"properties":[{"code":"instant_power","dpId":1,"time":%s,"value":%d}]},"ts":%s}'
local SAMPLE = '{"metric":{"__name__":"instant_power","device":"bfadafebb608a%09d","product":"ixhko1cls7lzp%03d"},'
  .. '"values":[%d],"timestamps":[%s]}'
local POINT = "instant_power,device=bfadafebb608a%09d,product=ixhko1cls7lzp%03d value=%d %s"

local function envelope(device, time, watts)
  return MESSAGE:format(device, device % 20, time, watts, time)
end

local function sample(device, time, watts)
  return SAMPLE:format(device, device % 20, watts, time)
end

local function point(device, time, watts)
  return POINT:format(device, device % 20, watts, time)
end

local FORMS = {
  json = { text = envelope, content_type = "application/json", open = "", close = "", between = "\n" },
  ndjson = { text = envelope, content_type = "application/x-ndjson", open = "", close = "", between = "\n" },
  array = { text = envelope, content_type = "application/json", open = "[", close = "]", between = "," },
  vm = { text = sample, content_type = "application/json", open = "", close = "", between = "\n" },
  line = { text = point, content_type = "text/plain", open = "", close = "", between = "\n" },
}

local path, form, count, time_ms, devices
local batches, turn = {}, 0

local function text(device, time)
  return form.text(device, time, math.random(500, 2500))
end

local function build_batch(first)
  local parts, places, length = {}, {}, #form.open
  for index = 0, count - 1 do
    local part = text((first + index) % devices, string.format("%013d", index % 1000))
    for place in part:gmatch("%f[%d]()%d%d%d%d%d%d%d%d%d%d%d%d%d%f[%D]") do
      places[#places + 1] = length + place - 1
    end
    length = length + #part + #form.between
    parts[#parts + 1] = part
  end
  local body = form.open .. table.concat(parts, form.between) .. form.close
  local buffer = ffi.new("char[?]", #body)
  ffi.copy(buffer, body, #body)
  return { buffer = buffer, size = #body, places = places }
end

function init(args)
  path, form, count, time_ms, devices = args[1], FORMS[args[2]], tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  math.randomseed(time_ms)
  if count > 1 then
    for tenth = 0, BATCHES - 1 do
      batches[tenth + 1] = build_batch(math.floor(tenth * devices / BATCHES))
    end
  end
end

local function wrapped(body)
  return HEAD:format(path, wrk.host, wrk.port, form.content_type, #body, body)
end

local function message()
  time_ms = time_ms + 1
  return wrapped(text(math.random(0, devices - 1), string.format("%d", time_ms)))
end

local function batch()
  turn = turn + 1
  local chosen = batches[turn % #batches + 1]
  time_ms = time_ms + 1000
  local seconds = string.format("%d", time_ms / 1000)
  for index = 1, #chosen.places do -- a place is where the first of 13 digits stands, counted from 0
    ffi.copy(chosen.buffer + chosen.places[index], seconds, 10)
  end
  return wrapped(ffi.string(chosen.buffer, chosen.size))
end

function request()
  return count == 1 and message() or batch()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"answered":%d,"refused":%d,"broken":%d,"late":%d,"duration_s":%f,"p50_ms":%f,"p99_ms":%f,"max_ms":%f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
