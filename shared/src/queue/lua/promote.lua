-- promote: due -> queued for jobs whose time has come; queued -> expired for those whose deadline passed.
-- KEYS  1 base of the shard
-- ARGV  1 most items to look at, of both kinds together: half of each, and what one leaves the other may have
-- Returns  number of jobs that became ready
-- Safe to repeat by anyone at any time. Part of claim and renew, so nobody has to call it.

local function promote(S, limit)
  local base, stamp, ready = S.base, S.stamp, 0
  local late = call('ZRANGEBYSCORE', base .. ':dl', '-inf', stamp, 'LIMIT', '0', int(limit))
  local due = call('ZRANGEBYSCORE', base .. ':due', '-inf', stamp, 'LIMIT', '0', int(limit))
  local lates = min(#late, max(ceil(limit / 2), limit - #due))
  for i = 1, lates do
    local id = late[i]
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
  for i = 1, min(#due, limit - lates) do
    local id = due[i]
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
