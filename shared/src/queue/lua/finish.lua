-- finish: running -> succeeded or canceled, for the leases that own the attempts.
-- KEYS  1 base of the shard
-- ARGV  for each job: id, epoch, outcome ('succeeded' | 'canceled'), result (JSON, '' for none)
-- Returns  for each job 'ok' | 'canceled' (it was cancelled meanwhile: the result is not published) | 'lost' (nothing written)
-- Safe to repeat: the same epoch finishing twice gets the same answer and writes nothing.

-- How an attempt's usual length is learnt: weight of the newest job, 1/8.
local function learn(t, used)
  local old = t.a[ESTIMATE]
  t.a[ESTIMATE] = math.max(ESTIMATE_MIN_MS, math.min(ESTIMATE_MAX_MS, math.floor(old + (used - old) / 8)))
end

transition('finish', { 'allow-oom' }, function(keys, args)
  local jobs = math.floor(#args / 4)
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR finish takes 1 to ' .. BUDGET .. ' jobs') end
  local S = open(keys[1])
  local replies = {}
  for i = 1, jobs do
    local o = (i - 1) * 4 + 1
    local id, epoch, outcome, result = args[o], args[o + 1], args[o + 2], args[o + 3]
    local job = load_job(S.base, id)
    if holds(job, epoch) then
      if job.cx then outcome = 'canceled' end
      local answer = 'ok'
      if outcome == 'canceled' then answer, result = 'canceled', nil end
      local t = tenant(S, job.tn)
      local used = end_lease(S, t, id, job, true)
      if answer == 'ok' then learn(t, used) end
      conclude(S, t, id, job, outcome, result, outcome, nil, epoch .. ' ' .. answer)
      replies[i] = answer
    else
      local answer = answered(job, epoch)
      replies[i] = (answer == 'ok' or answer == 'canceled') and answer or 'lost'
    end
  end
  flush(S)
  return replies
end)
