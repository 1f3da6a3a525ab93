-- release: running -> queued in front of its tenant's jobs; the attempt is not counted.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 epoch  3 reason, for the event
-- Returns  'ok' | 'canceled' (it was cancelled meanwhile) | 'lost' (nothing written)
-- For a worker that stops before the job is done. The epoch stays used; the next claim gets a new one.
-- Safe to repeat: the same epoch released twice gets the same answer and writes nothing.

transition('release', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local id, epoch = args[1], tonumber(args[2])
  local job = load_job(S.base, id)
  if not holds(job, epoch) then
    local answer = answered(job, epoch)
    if answer == 'released' then return 'ok' end
    return answer == 'canceled' and answer or 'lost'
  end
  local t, canceled = tenant(S, job[TN]), stop_asked(job)
  end_lease(S, t, id, job, false)
  if canceled then
    conclude(S, t, id, job, CANCELED, nil, BY_RELEASE, 0, TOLD_CANCELED)
  else
    requeue(S, t, id, job, 0, args[3], BY_RELEASE, 0, TOLD_RELEASED, job[AT] - 1)
  end
  flush(S)
  return canceled and 'canceled' or 'ok'
end)
