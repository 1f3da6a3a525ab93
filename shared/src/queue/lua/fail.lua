-- fail: running -> failed, or -> queued after a back-off when the fault is ours and attempts are left.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 epoch  3 failure class  4 '1' if it may be tried again  5 jitter, 0 to 1  6 result (JSON)
-- Returns  'failed' | 'retry' | 'canceled' (it was cancelled meanwhile) | 'lost' (nothing written)
-- Safe to repeat: the same epoch failing twice gets the same answer and writes nothing.

transition('fail', { 'allow-oom' }, function(keys, args)
  local base, id, epoch, class, now = keys[1], args[1], args[2], args[3], now_ms()
  local job = load_job(base, id)
  if not holds(job, epoch) then
    if not job or job.fo ~= epoch then return 'lost' end
    return (job.st == 'failed' or job.st == 'canceled') and job.st or 'retry'
  end
  local used = end_lease(base, id, job, now)
  attempt_ended(base, id, job, 'failed', class, now)
  redis.call('HSET', job_key(base, id), 'fo', epoch)
  local reply
  if job.cx then
    conclude(base, id, job, 'canceled', nil, now)
    reply = 'canceled'
  elseif args[4] == '1' then
    -- Our fault: the tenant does not pay for it.
    charge(base, job.tn, -used)
    local failures = redis.call('HINCRBY', job_key(base, id), 'fa', 1)
    if failures < FAILURES_MAX then
      local delay = math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ^ (failures - 1)) * tonumber(args[5])
      requeue(base, id, job, math.max(1, math.floor(delay)), class, now)
      reply = 'retry'
    end
  end
  if not reply then
    if args[4] == '1' then redis.call('ZADD', base .. ':t:' .. job.tn .. ':dead', now, id) end
    conclude(base, id, job, 'failed', args[6], now)
    reply = 'failed'
  end
  refresh(base, job.tn)
  return reply
end)
