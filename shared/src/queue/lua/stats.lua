-- stats: what a probe, a scrape or an autoscaler asks. Changes nothing.
-- KEYS  1 base of the shard
-- Returns  {counters as flat list, delayed jobs, leases, live workers' info (JSON each), tenants in vt}
-- Jobs that are ready are not counted anywhere: they are what was submitted, less what ended, runs or waits for a time.

transition('stats', { 'no-writes' }, function(keys)
  local base, now = keys[1], now_ms(keys[1])
  local infos = {}
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', base .. ':wks', now - WORKER_TTL_MS, '+inf', 'LIMIT', 0, 1000)) do
    infos[#infos + 1] = redis.call('GET', base .. ':wk:' .. worker) or nil
  end
  return { redis.call('HGETALL', base .. ':ct'), redis.call('ZCARD', base .. ':due'),
    redis.call('ZCARD', base .. ':lease'), infos, redis.call('ZCARD', base .. ':vt') }
end)
