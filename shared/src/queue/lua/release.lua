-- release: running -> queued in front of its tenant's jobs; the attempt is not counted.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 epoch  3 reason, for the event
-- Returns  'ok' | 'canceled' (it was cancelled meanwhile) | 'lost' (nothing written)
-- For a worker that stops before the job is done. The epoch stays used; the next claim gets a new one.
-- Safe to repeat: the same epoch released twice gets the same answer and writes nothing.

transition('release', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local id, epoch = args[1], args[2]
  local job = load_job(S.base, id)
  if not holds(job, epoch) then
    local answer = answered(job, epoch)
    if answer == 'released' then return 'ok' end
    return answer == 'canceled' and answer or 'lost'
  end
  local t = tenant(S, job.tn)
  end_lease(S, t, id, job, false)
  local reply = 'ok'
  if job.cx then
    conclude(S, t, id, job, 'canceled', nil, 'released', nil, epoch .. ' canceled')
    reply = 'canceled'
  else
    requeue(S, t, id, job, 0, args[3], 'released', nil, epoch .. ' released', job.at - 1)
  end
  flush(S)
  return reply
end)
