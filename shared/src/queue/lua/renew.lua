-- renew: keeps leases, for all jobs of a worker at once, and carries their news up.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 lease ms  3 worker's info (JSON)  4 number of jobs, then for each job:
--       id, epoch, number of events, then for each event: kind, data (JSON)
-- Returns  for each job 'ok' | 'cancel' (stop it, then finish it as canceled) | 'lost' (not yours any more: stop, tell nobody)
-- Also promotes and reaps a few. A job that is `lost` is not written to.

transition('renew', { 'allow-oom' }, function(keys, args)
  local base, worker, lease_ms, now = keys[1], args[1], tonumber(args[2]), now_ms()
  local jobs = tonumber(args[4])
  if jobs > BUDGET then return redis.error_reply('ERR renew takes at most ' .. BUDGET .. ' jobs') end
  seen(base, worker, args[3], now)
  local replies, o = {}, 5
  for i = 1, jobs do
    local id, epoch, events = args[o], args[o + 1], tonumber(args[o + 2])
    o = o + 3
    local job = load_job(base, id)
    if not holds(job, epoch) or job.wk ~= worker then
      replies[i] = 'lost'
    else
      local key = job_key(base, id)
      for e = 0, events - 1 do
        local kind, data = args[o + 2 * e], args[o + 2 * e + 1]
        if kind == 'progress' then redis.call('HSET', key, 'pg', data) end
        event(base, id, kind, data)
      end
      if events > 0 then redis.call('HINCRBY', key, 'rv', 1) end
      local used, charged = now - tonumber(job.sa), tonumber(job.ch)
      if used > charged then
        charge(base, job.tn, used - charged)
        redis.call('HSET', key, 'ch', int(used))
        refresh(base, job.tn)
      end
      if job.cx and now - tonumber(job.cx) > CANCEL_GRACE_MS then
        end_lease(base, id, job, now)
        attempt_ended(base, id, job, 'canceled', nil, now)
        conclude(base, id, job, 'canceled', nil, now)
        refresh(base, job.tn)
        replies[i] = 'lost'
      else
        redis.call('ZADD', base .. ':lease', now + lease_ms, id)
        replies[i] = job.cx and 'cancel' or 'ok'
      end
    end
    o = o + 2 * events
  end
  promote(base, 10, now)
  reap(base, 10, now)
  return replies
end)
