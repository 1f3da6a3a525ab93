-- finish: running -> succeeded or canceled, for the leases that own the attempts.
-- KEYS  1 base of the shard
-- ARGV  for each job: id, epoch, outcome ('succeeded' | 'canceled'), result (JSON, '' for none)
-- Returns  for each job 'ok' | 'canceled' (it was cancelled meanwhile: the result is not published) | 'lost' (nothing written)
-- Safe to repeat: the same epoch finishing twice gets the same answer and writes nothing.

-- How an attempt's usual length is learnt: weight of the newest job, 1/8.
local function learn(base, tenant, used)
  local t = tenant_key(base, tenant)
  local old = tonumber(redis.call('HGET', t, 'est')) or ESTIMATE_DEFAULT_MS
  local new = math.max(ESTIMATE_MIN_MS, math.min(ESTIMATE_MAX_MS, old + (used - old) / 8))
  redis.call('HSET', t, 'est', int(new))
end

transition('finish', { 'allow-oom' }, function(keys, args)
  local base, now = keys[1], now_ms()
  local jobs = math.floor(#args / 4)
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR finish takes 1 to ' .. BUDGET .. ' jobs') end
  local replies = {}
  for i = 1, jobs do
    local o = (i - 1) * 4 + 1
    local id, epoch, outcome, result = args[o], args[o + 1], args[o + 2], args[o + 3]
    local job = load_job(base, id)
    if holds(job, epoch) then
      if job.cx then outcome, result = 'canceled', nil end
      learn(base, job.tn, end_lease(base, id, job, now))
      attempt_ended(base, id, job, outcome, nil, now)
      redis.call('HSET', job_key(base, id), 'fo', epoch)
      conclude(base, id, job, outcome, result, now)
      refresh(base, job.tn)
      replies[i] = outcome == 'canceled' and 'canceled' or 'ok'
    elseif job and job.fo == epoch then
      replies[i] = job.st == 'canceled' and 'canceled' or 'ok'
    else
      replies[i] = 'lost'
    end
  end
  return replies
end)
