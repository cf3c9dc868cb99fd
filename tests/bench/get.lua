-- Reads by id: IDS is a file with one id a line, PREFIX what stands before it,
-- KEY a credential if there is one.
local ids = {}
for line in io.lines(os.getenv("IDS")) do
  ids[#ids + 1] = line
end
math.randomseed(os.time())
local prefix = os.getenv("PREFIX")
if os.getenv("KEY") then
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY")
end
function request()
  return wrk.format("GET", prefix .. ids[math.random(#ids)])
end
