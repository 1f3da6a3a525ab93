-- finish: running -> succeeded or canceled, for the leases that own the attempts.
-- KEYS  1 base of the shard
-- ARGV  for each job: id, epoch, outcome ('succeeded' | 'canceled'), result (JSON, '' for none)
-- Returns  for each job 'ok' | 'canceled' (it was cancelled meanwhile: the result is not published) | 'lost' (nothing written)
-- Safe to repeat: the same epoch finishing twice gets the same answer and writes nothing.

-- How an attempt's usual length is learnt: weight of the newest job, 1/8.
local function learnt(old, used)
  local length = old + (used - old) / 8
  length = length - length % 1
  return length < ESTIMATE_MIN_MS and ESTIMATE_MIN_MS or length > ESTIMATE_MAX_MS and ESTIMATE_MAX_MS or length
end

local function learn(S, t, used)
  t[ESTIMATE] = learnt(usual(S, t), used)
  set_shard(S, USUAL, learnt(shard(S)[USUAL], used))
end

transition('finish', { 'allow-oom' }, function(keys, args)
  local jobs = floor(#args / 4)
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR finish takes 1 to ' .. BUDGET .. ' jobs') end
  local S = open(keys[1])
  local replies = {}
  for i = 1, jobs do
    local o = (i - 1) * 4 + 1
    local id, epoch = args[o], tonumber(args[o + 1])
    local job = load_job(S.base, id)
    if holds(job, epoch) then
      local t = tenant(S, job[TN])
      local used = end_lease(S, t, id, job, true)
      if stop_asked(job) or args[o + 2] ~= 'succeeded' then
        conclude(S, t, id, job, CANCELED, nil, BY_CANCEL, 0, TOLD_CANCELED)
        replies[i] = 'canceled'
      else
        learn(S, t, used)
        conclude(S, t, id, job, SUCCEEDED, args[o + 3], BY_SUCCESS, 0, TOLD_OK)
        replies[i] = 'ok'
      end
    else
      local answer = answered(job, epoch)
      replies[i] = (answer == 'ok' or answer == 'canceled') and answer or 'lost'
    end
  end
  flush(S)
  return replies
end)
