-- release: running -> queued in front of its tenant's jobs; the attempt is not counted.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 epoch  3 reason, for the event
-- Returns  'ok' | 'canceled' (it was cancelled meanwhile) | 'lost' (nothing written)
-- For a worker that stops before the job is done. The epoch stays used; the next claim gets a new one.

transition('release', { 'allow-oom' }, function(keys, args)
  local base, id, epoch, now = keys[1], args[1], args[2], now_ms()
  local job = load_job(base, id)
  if not holds(job, epoch) then return 'lost' end
  charge(base, job.tn, -end_lease(base, id, job, now))
  attempt_ended(base, id, job, 'released', nil, now)
  local reply = 'ok'
  if job.cx then
    conclude(base, id, job, 'canceled', nil, now)
    reply = 'canceled'
  else
    redis.call('HINCRBY', job_key(base, id), 'at', -1)
    requeue(base, id, job, 0, args[3], now)
  end
  refresh(base, job.tn)
  return reply
end)
