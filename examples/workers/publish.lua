local function whole(text, default)
  if not text or text == '' then return default end
  local n = tonumber(text)
  if n and n >= 1 and n <= 1e15 and n % 1 == 0 then return n end
end
local max_events = whole(ARGV[2], 1000)
local ttl_ms = whole(ARGV[3], 86400000)
if not max_events or not ttl_ms then
  return redis.error_reply('ERR max_events and ttl_ms are whole numbers from 1 on')
end
local once = ARGV[4] and ARGV[4] ~= ''
  and '{' .. KEYS[1] .. '}:once:' .. ARGV[4] .. ':' .. #KEYS[1]
if once then
  local id = redis.call('GET', once)
  if id then return id end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', max_events, '*', 'd', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ttl_ms)
redis.call('PUBLISH', KEYS[1], id .. ' ' .. ARGV[1])
if once then redis.call('SET', once, id, 'PX', ttl_ms) end
return id
