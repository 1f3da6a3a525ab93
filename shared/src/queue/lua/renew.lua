-- renew: keeps leases, for all jobs of a worker at once, and carries their news up.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 lease ms  3 worker's info (JSON)  4 slots that it offers to the elastic bound (0 if it drains)
--       5 number of jobs, then for each job: id, epoch, number of events, then for each event: kind, data (JSON)
-- Returns  for each job 'ok' | 'cancel' (stop it, then finish it as canceled) | 'lost' (not yours any more: stop, tell nobody)
-- Also promotes and reaps a few. A job that is `lost` is not written to.

transition('renew', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, worker, lease_ms, now = S.base, args[1], tonumber(args[2]), S.now
  local jobs = tonumber(args[5])
  if jobs > BUDGET then return redis.error_reply('ERR renew takes at most ' .. BUDGET .. ' jobs') end
  hear(S, lease_ms)
  seen(S, worker, args[3], tonumber(args[4]))
  local replies, o = {}, 6
  for i = 1, jobs do
    local id, epoch, events = args[o], args[o + 1], tonumber(args[o + 2])
    o = o + 3
    local job = load_job(base, id)
    if not holds(job, epoch) or job.wk ~= worker then
      replies[i] = 'lost'
    else
      local key, t = job_key(base, id), nil
      local progress
      local news = {}
      for e = 0, events - 1 do
        local kind, data = args[o + 2 * e], args[o + 2 * e + 1]
        if kind == 'progress' then progress = data end
        news[e + 1] = S.stamp .. ' ' .. kind .. ' ' .. data
      end
      if events > 0 then
        local kept = redis.call('RPUSH', base .. ':je:' .. id, unpack(news))
        if kept > EVENTS_MAX then
          redis.call('LTRIM', base .. ':je:' .. id, -EVENTS_MAX, -1)
          redis.call('HINCRBY', key, 'ed', kept - EVENTS_MAX)
        end
        redis.call('PUBLISH', base .. ':ev:' .. id, 'news')
        job.rv = job.rv + 1
        redis.call('HSET', key, 'rv', job.rv)
      end
      if progress then
        redis.call('SET', base .. ':jg:' .. id, progress)
        if not job.pg then redis.call('HSET', key, 'pg', '1') end
        job.pg = '1'
      end
      local used, charged = now - tonumber(job.sa), tonumber(job.ch)
      if used > charged then
        t = tenant(S, job.tn)
        charge(t, used - charged)
        job.ch = used
        redis.call('HSET', key, 'ch', used)
      end
      if job.cx and now - tonumber(job.cx) > CANCEL_GRACE_MS then
        t = tenant(S, job.tn)
        end_lease(S, t, id, job, true)
        conclude(S, t, id, job, 'canceled', nil, 'canceled')
        replies[i] = 'lost'
      else
        S.leased[#S.leased + 1] = int(now + lease_ms)
        S.leased[#S.leased + 1] = id
        replies[i] = job.cx and 'cancel' or 'ok'
      end
    end
    o = o + 2 * events
  end
  -- First what was renewed, so that the reaper does not see it.
  flush(S)
  promote(S, 10)
  reap(S, 10)
  flush(S)
  return replies
end)
