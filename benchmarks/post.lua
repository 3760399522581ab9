-- What wrk sends: messages of random devices, each later than the one before, and at the end its figures as JSON.
--   wrk ... -s post.lua http://host:port/ -- <path> <message|ndjson|array> <time of the first message, ms>
-- `message` is one message a request; the others are 10,000. A batch is built once for each tenth of the fleet; before
-- it is sent again only its times are written over, in place, so that the generator leaves the processor to the server.

local ffi = require("ffi")

local DEVICES = 100000
local BATCH = 10000
local TYPES = { message = "application/json", ndjson = "application/x-ndjson", array = "application/json" }
local HEAD = "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
local BEFORE = '{"bizCode":"devicePropertyMessage","bizData":{"devId":"bfadafebb608a%09d","productId":"ixhko1cls7lzp%03d",'
  .. '"properties":[{"code":"instant_power","dpId":1,"time":'
local AFTER = ',"value":%d}]},"ts":%s}'

local path, kind, time_ms
local batches, turn = {}, 0

local function text(device, time)
  return string.format(BEFORE, device, device % 20) .. time .. string.format(AFTER, math.random(500, 2500), time)
end

local function build_batch(first)
  local open, close, between = "", "\n", "\n"
  if kind == "array" then
    open, close, between = "[", "]", ","
  end
  local parts, places, length = {}, {}, #open
  for index = 0, BATCH - 1 do
    local part = text(first + index, string.format("%013d", index % 1000))
    for place in part:gmatch("():%d%d%d%d%d%d%d%d%d%d%d%d%d") do
      places[#places + 1] = length + place
    end
    length = length + #part + 1
    parts[#parts + 1] = part
  end
  local body = open .. table.concat(parts, between) .. close
  local buffer = ffi.new("char[?]", #body)
  ffi.copy(buffer, body, #body)
  return { buffer = buffer, size = #body, places = places }
end

function init(args)
  path, kind, time_ms = args[1], args[2], tonumber(args[3])
  math.randomseed(time_ms)
  if kind ~= "message" then
    for tenth = 0, DEVICES / BATCH - 1 do
      batches[tenth + 1] = build_batch(tenth * BATCH)
    end
  end
end

local function wrapped(body)
  return string.format(HEAD, path, wrk.host, wrk.port, TYPES[kind], #body, body)
end

local function message()
  time_ms = time_ms + 1
  return wrapped(text(math.random(0, DEVICES - 1), string.format("%d", time_ms)))
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
  return kind == "message" and message() or batch()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"answered":%d,"refused":%d,"broken":%d,"late":%d,"duration_s":%f,"p50_ms":%f,"p99_ms":%f,"max_ms":%f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
