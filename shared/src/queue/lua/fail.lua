-- fail: running -> failed, or -> queued after a back-off when the fault is ours and attempts are left.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 epoch  3 failure class, name  4 its code  5 '1' if it may be tried again  6 jitter, 0 to 1  7 result (JSON)
-- Returns  'failed' | 'retry' | 'canceled' (it was cancelled meanwhile) | 'lost' (nothing written)
-- Safe to repeat: the same epoch failing twice gets the same answer and writes nothing.

transition('fail', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, id, epoch, class, code, ours = S.base, args[1], tonumber(args[2]), args[3], tonumber(args[4]), args[5] == '1'
  local job = load_job(base, id)
  if not holds(job, epoch) then
    local answer = answered(job, epoch)
    return (answer == 'failed' or answer == 'retry' or answer == 'canceled') and answer or 'lost'
  end
  local t, canceled = tenant(S, job[TN]), stop_asked(job)
  -- Our fault: the tenant does not pay for it.
  end_lease(S, t, id, job, canceled or not ours)
  local reply = 'failed'
  if canceled then
    reply = 'canceled'
    conclude(S, t, id, job, CANCELED, nil, BY_FAILURE, code, TOLD_CANCELED)
  else
    if ours then job[FA] = job[FA] + 1 end
    local wait_ms = ours and (RETRY_MS[class] or RETRY_OTHER_MS)[job[FA]]
    if wait_ms then
      requeue(S, t, id, job, floor(wait_ms * (1 + tonumber(args[6])) / 2), class, BY_FAILURE, code, TOLD_RETRY, job[AT])
      reply = 'retry'
    else
      conclude(S, t, id, job, FAILED, args[7], BY_FAILURE, code, TOLD_FAILED, ours and class)
    end
  end
  flush(S)
  return reply
end)
