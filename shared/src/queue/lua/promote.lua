-- promote: due -> queued for jobs whose time has come; queued -> expired for those whose deadline passed.
-- KEYS  1 base of the shard
-- ARGV  1 most items to look at, of each kind
-- Returns  number of jobs that became ready
-- Safe to repeat by anyone at any time. Part of claim and renew, so nobody has to call it.

local function promote(S, limit)
  local base, now, ready = S.base, S.now, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':dl', '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', base .. ':dl', id)
    local job = load_job(base, id)
    if job and job.st == 'queued' then
      local t = tenant(S, job.tn)
      if redis.call('ZREM', base .. ':due', id) == 0 then withdraw(t, job.sl, job.si) end
      conclude(S, t, id, job, 'expired')
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', base .. ':due', id)
    local job = load_job(base, id)
    if job and job.st == 'queued' then
      local entry, number = push(S, tenant(S, job.tn), job.sl, id)
      redis.call('HSET', job_key(base, id), 'nb', '', 'si', entry, 'sq', number)
      ready = ready + 1
    end
  end
  return ready
end

transition('promote', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local ready = promote(S, math.min(tonumber(args[1]), BUDGET))
  flush(S)
  return ready
end)
