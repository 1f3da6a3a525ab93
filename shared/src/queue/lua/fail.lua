-- fail: running -> failed, or -> queued after a back-off when the fault is ours and attempts are left.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 epoch  3 failure class  4 '1' if it may be tried again  5 jitter, 0 to 1  6 result (JSON)
-- Returns  'failed' | 'retry' | 'canceled' (it was cancelled meanwhile) | 'lost' (nothing written)
-- Safe to repeat: the same epoch failing twice gets the same answer and writes nothing.

transition('fail', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, id, epoch, class, ours = S.base, args[1], args[2], args[3], args[4] == '1'
  local job = load_job(base, id)
  if not holds(job, epoch) then
    local answer = answered(job, epoch)
    return (answer == 'failed' or answer == 'retry' or answer == 'canceled') and answer or 'lost'
  end
  local t = tenant(S, job.tn)
  -- Our fault: the tenant does not pay for it.
  end_lease(S, t, id, job, job.cx or not ours)
  local reply = 'failed'
  if job.cx then
    reply = 'canceled'
    conclude(S, t, id, job, 'canceled', nil, 'failed', class, epoch .. ' canceled')
  else
    local failures = ours and redis.call('HINCRBY', job_key(base, id), 'fa', 1) or 0
    if ours and failures < FAILURES_MAX then
      local delay = math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ^ (failures - 1)) * tonumber(args[5])
      requeue(S, t, id, job, math.max(1, math.floor(delay)), class, 'failed', class, epoch .. ' retry', job.at)
      reply = 'retry'
    else
      if ours then bury(S, t, id) end
      conclude(S, t, id, job, 'failed', args[6], 'failed', class, epoch .. ' failed')
    end
  end
  flush(S)
  return reply
end)
