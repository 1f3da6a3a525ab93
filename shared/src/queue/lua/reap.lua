-- reap: running -> queued (in front) for jobs whose lease ran out, or -> failed after LOST_MAX lost leases that had been
--       renewed, or SILENT_MAX that had not.
-- KEYS  1 base of the shard
-- ARGV  1 most items to look at
-- Returns  number of leases that were taken away
-- Safe to repeat by anyone at any time: only an expired lease is touched, and its epoch is dead with it.
-- Part of claim and renew, so nobody has to call it.
--
-- Grace: if no worker at all was heard of for longer than half a lease, then Redis was away or all
-- workers were cut off from it, and their leases ran out without their fault. The first claim or
-- renew after such a silence holds the reaper back for half a lease more (`hold`), in which
-- everyone who lives renews. So a job whose lone worker died runs again within 15 s of the death,
-- or within half a lease of the first call of the next worker, whichever is later.

-- No lease, and no grace, reaches further ahead than this; one that does was given before the clock was set
-- back, and ends then.
local AHEAD_MAX_MS = 60000

-- A worker's call is noted at most once per this many milliseconds.
local HEAR_STEP_MS = 500

-- Notes a call of any worker; decides on the grace.
local function hear(S, lease_ms)
  local s = shard(S)
  if s[SEEN] > 0 and S.now - s[SEEN] > lease_ms / 2 then set_shard(S, HOLD, S.now + floor(lease_ms / 2)) end
  if math.abs(S.now - s[SEEN]) >= HEAR_STEP_MS then set_shard(S, SEEN, S.now) end
end

-- Why a job whose leases are lost again and again is given up, as its error; nil if it may be tried again.
local function poison(job)
  local silent = job[AT] - job[FA] - job[CR]
  local last = worker_name(job[WK])
  if job[CR] >= LOST_MAX then
    return {
      class = 'lost_worker',
      message = 'the job was given up after ' .. job[CR] .. ' workers died or hung while running it',
      hint = 'it may need more memory than a worker has; the last worker was ' .. last,
    }
  elseif silent >= SILENT_MAX then
    return {
      class = 'lost_worker',
      message = 'the job was given up: ' .. silent .. ' times it was given to a worker that was not heard of again',
      hint = 'either it ends a worker within seconds, or workers do not get what Redis answers: look at the logs of ' .. last .. ' and at its connection to Redis',
    }
  end
end

local function reap(S, limit)
  local base, furthest = S.base, int(S.now + AHEAD_MAX_MS)
  local hold = shard(S)[HOLD]
  if hold > S.now and hold <= S.now + AHEAD_MAX_MS then return 0 end
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':lease', '(' .. furthest, '+inf', 'LIMIT', '0', int(limit))) do
    call('ZADD', base .. ':lease', furthest, id)
  end
  local ids = call('ZRANGEBYSCORE', base .. ':lease', '-inf', S.stamp, 'LIMIT', '0', int(limit))
  for _, id in ipairs(ids) do
    local job = load_job(base, id)
    if not job or job[ST] ~= RUNS then
      S.ended[#S.ended + 1], S.busy = id, nil
      count(S, 'repairs', 1)
    else
      local t = tenant(S, job[TN])
      end_lease(S, t, id, job, false)
      if has(job, RENEWED) then job[CR] = job[CR] + 1 end
      count(S, 'leases_lost', 1)
      local error = poison(job)
      if stop_asked(job) then
        -- A ghost's cancel was counted when it was asked for.
        if not has(job, GHOST) then swept(S, t, job, CANCELED) end
        conclude(S, t, id, job, CANCELED, nil, BY_LOSS, LOST_WORKER)
      elseif error then
        if not has(job, GHOST) then swept(S, t, job, FAILED) end
        conclude(S, t, id, job, FAILED, cjson.encode({ error = error }), BY_LOSS, LOST_WORKER, nil, 'lost_worker')
      else
        requeue(S, t, id, job, 0, 'lost_worker', BY_LOSS, LOST_WORKER, nil, job[AT])
      end
    end
  end
  return #ids
end

transition('reap', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local taken = reap(S, min(tonumber(args[1]), BUDGET))
  flush(S)
  return taken
end)
