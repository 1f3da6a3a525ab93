-- stats: what a probe, a scrape or an autoscaler asks. Changes nothing.
-- KEYS  1 base of the shard
-- Returns  {counters as flat list, delayed jobs, leases, live workers' info (JSON each), paused lanes,
--           tenants in vt, over, held, gate, workers that an operator drains}
-- Jobs that are ready are not counted anywhere: they are what was submitted, less what ended, runs,
-- waits for a time or waits for another's render (`following`).

transition('stats', { 'no-writes' }, function(keys)
  local base, now = keys[1], now_ms(keys[1])
  local infos = {}
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', base .. ':wks', now - WORKER_TTL_MS, '+inf', 'LIMIT', 0, 1000)) do
    infos[#infos + 1] = redis.call('GET', base .. ':wk:' .. worker) or nil
  end
  local reply = { redis.call('HGETALL', base .. ':ct'), redis.call('ZCARD', base .. ':due'),
    redis.call('ZCARD', base .. ':lease'), infos, redis.call('HGET', base .. ':sh', 'paused') or '' }
  for place = VT, GATE do reply[#reply + 1] = redis.call('ZCARD', base .. PLACES[place]) end
  reply[#reply + 1] = redis.call('ZRANGEBYSCORE', base .. ':drain', '-inf', '+inf', 'LIMIT', 0, 1000)
  return reply
end)
