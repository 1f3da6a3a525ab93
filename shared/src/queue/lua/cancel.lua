-- cancel: queued -> canceled at once; running -> asked to stop.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 tenant that asks
-- Returns  'canceled' | 'requested' (its worker is told; it ends within CANCEL_GRACE_MS, or with its lease) |
--          'terminal' (it had ended before) | 'none' (no such job of this tenant)
-- Safe to repeat. After it returned, no new attempt starts.

transition('cancel', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, id = S.base, args[1]
  local job = load_job(base, id)
  if not job or job.tn ~= args[2] then return 'none' end
  local key = job_key(base, id)
  if job.st == 'queued' then
    local t = tenant(S, job.tn)
    if redis.call('ZREM', base .. ':due', id) == 0 then withdraw(t, job.sl, job.si) end
    redis.call('HSET', key, 'cx', S.now)
    conclude(S, t, id, job, 'canceled')
    flush(S)
    return 'canceled'
  elseif job.st == 'running' then
    if not job.cx then
      redis.call('HSET', key, 'cx', S.now, 'rv', job.rv + 1)
      event(S, id, 'status', '{"status":"running","cancel_requested":true}')
    end
    -- A hint only: if it is lost, the next renewal says the same.
    redis.call('PUBLISH', base .. ':ctl:' .. job.wk, 'cancel ' .. id)
    return 'requested'
  end
  return 'terminal'
end)
