-- promote: due -> queued for jobs whose time has come; queued -> expired for those whose deadline passed.
-- KEYS  1 base of the shard
-- ARGV  1 most items to look at
-- Returns  number of jobs that became ready
-- Safe to repeat by anyone at any time. Part of claim and renew, so nobody has to call it.

local function promote(base, limit, now)
  local ready = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', base .. ':due', id)
    local job = load_job(base, id)
    if job and job.st == 'queued' then
      redis.call('HDEL', job_key(base, id), 'nb')
      push(base, job.tn, job.sl or job.ln, id)
      refresh(base, job.tn)
      ready = ready + 1
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':dl', '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', base .. ':dl', id)
    local job = load_job(base, id)
    if job and job.st == 'queued' then
      if redis.call('ZREM', base .. ':due', id) == 0 then
        withdraw(base, job.tn, job.sl, job.si)
        refresh(base, job.tn)
      end
      conclude(base, id, job, 'expired', nil, now)
    end
  end
  if ready > 0 then ring(base, ready, now) end
  return ready
end

transition('promote', { 'allow-oom' }, function(keys, args)
  return promote(keys[1], math.min(tonumber(args[1]), BUDGET), now_ms())
end)
