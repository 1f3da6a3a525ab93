-- promote: due -> queued for jobs whose time has come; queued -> expired for those whose deadline passed.
-- KEYS  1 base of the shard
-- ARGV  1 most items to look at, of each kind
-- Returns  number of jobs that became ready
-- Safe to repeat by anyone at any time. Part of claim and renew, so nobody has to call it.

local function promote(S, limit)
  local base, stamp, ready = S.base, S.stamp, 0
  limit = int(limit)
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':dl', '-inf', stamp, 'LIMIT', '0', limit)) do
    call('ZREM', base .. ':dl', id)
    local job = load_job(base, id)
    if job and job[ST] == QUEUED then
      local t = tenant(S, job[TN])
      withdraw(S, t, id, job)
      job[DL] = 0
      if not has(job, GHOST) then swept(S, t, job, EXPIRED) end
      conclude(S, t, id, job, EXPIRED)
    end
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':due', '-inf', stamp, 'LIMIT', '0', limit)) do
    call('ZREM', base .. ':due', id)
    local job = load_job(base, id)
    if job and job[ST] == QUEUED and job[SQ] == 0 then
      job[SQ], job[NB] = push(S, tenant(S, job[TN]), job[SL], id), 0
      put_job(job)
      ready = ready + 1
    end
  end
  return ready
end

transition('promote', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local ready = promote(S, min(tonumber(args[1]), BUDGET))
  flush(S)
  return ready
end)
