-- stats: what a probe, a scrape or an autoscaler asks. Changes nothing.
-- KEYS  1 base of the shard
-- Returns  {counters as flat list, delayed jobs, leases, live workers' info (JSON each), paused lanes,
--           tenants in vt, over, held, gate, workers that an operator drains,
--           {webhook calls that are to be made, ms for which the first of them has been due, dead letters, now ms}}
-- Jobs that are ready are not counted anywhere: they are what was submitted, less what ended, runs,
-- waits for a time or waits for another's render (`following`).

-- What is paused: 'a' for all, digits of the lanes.
local function paused_letters(S)
  local letters = ''
  for lane, letter in pairs({ [0] = '0', '1', '2', 'a' }) do
    if band(shard(S)[STOPPED], 2 ^ lane) ~= 0 then letters = letters .. letter end
  end
  return letters
end

transition('stats', { 'no-writes' }, function(keys)
  local base, now = keys[1], now_ms(keys[1])
  local infos = {}
  for _, worker in ipairs(call('ZRANGEBYSCORE', base .. ':wks', now - WORKER_TTL_MS, '+inf', 'LIMIT', 0, 1000)) do
    infos[#infos + 1] = call('GET', base .. ':wk:' .. worker) or nil
  end
  local reply = { call('HGETALL', base .. ':ct'), call('ZCARD', base .. ':due'),
    call('ZCARD', base .. ':lease'), infos, paused_letters(open(base)) }
  for place = VT, GATE do reply[#reply + 1] = call('ZCARD', base .. PLACES[place]) end
  reply[#reply + 1] = call('ZRANGEBYSCORE', base .. ':drain', '-inf', '+inf', 'LIMIT', 0, 1000)
  local first = call('ZRANGE', base .. ':wdue', '0', '0', 'WITHSCORES')
  local overdue = first[2] and max(0, now - tonumber(first[2])) or 0
  reply[#reply + 1] = { call('ZCARD', base .. ':wdue') + call('XLEN', base .. ':hooks'), overdue, call('ZCARD', base .. ':dead'), now }
  return reply
end)
