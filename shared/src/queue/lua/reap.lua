-- reap: running -> queued (in front) for jobs whose lease ran out, or -> failed after LOST_MAX lost leases.
-- KEYS  1 base of the shard
-- ARGV  1 most items to look at
-- Returns  number of leases that were taken away
-- Safe to repeat by anyone at any time: only an expired lease is touched, and its epoch is dead with it.
-- Part of claim and renew, so nobody has to call it.

local function reap(base, limit, now)
  local ids = redis.call('ZRANGEBYSCORE', base .. ':lease', '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    local job = load_job(base, id)
    if not job or job.st ~= 'running' then
      redis.call('ZREM', base .. ':lease', id)
    else
      end_lease(base, id, job, now)
      attempt_ended(base, id, job, 'lost_lease', 'lost_worker', now)
      local lost = redis.call('HINCRBY', job_key(base, id), 'cr', 1)
      count(base, 'leases_lost', 1)
      if job.cx then
        conclude(base, id, job, 'canceled', nil, now)
      elseif lost >= LOST_MAX then
        redis.call('ZADD', base .. ':t:' .. job.tn .. ':dead', now, id)
        conclude(base, id, job, 'failed', cjson.encode({ error = {
          class = 'lost_worker',
          message = 'the job was given up after ' .. lost .. ' workers died or hung while running it',
          hint = 'it may need more memory than a worker has; the last worker was ' .. job.wk,
        } }), now)
      else
        requeue(base, id, job, 0, 'lost_worker', now)
      end
      refresh(base, job.tn)
    end
  end
  return #ids
end

transition('reap', { 'allow-oom' }, function(keys, args)
  return reap(keys[1], math.min(tonumber(args[1]), BUDGET), now_ms())
end)
