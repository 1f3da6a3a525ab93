-- renew: keeps leases, for all jobs of a worker at once, and carries their news up.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 its id as 16 bytes  3 lease ms  4 worker's info (JSON), '' in all shards but its home
--       5 slots that it offers to the elastic bound (0 if it drains)  6 its renderer, 8 bytes
--       7 jobs that it runs for other shards, '' if there is only one shard
--       8 tenants that were active lately in the other shards, '' if it does not know
--       9 number of jobs, then for each job: id, epoch, number of events, then for each event: kind, data (JSON)
-- Returns  for each job 'ok' | 'cancel' (stop it, then finish it as canceled) | 'lost' (not yours any more: stop, tell nobody);
--          then '1' if an operator drains this worker (it may claim nothing, and goes on calling this), else '0';
--          last how many tenants of this shard were active lately (0 if there is only one shard)
-- Also promotes and reaps a few, and looks at tenants that have been quiet. A job that is `lost` is not written to.

-- The slots are one pool for all shards, so the elastic bound of each needs to know what the others have. Their
-- workers tell, with each renewal: a few seconds late.
local function elsewhere(S, worker, away, others)
  local old = tonumber(call('HGET', S.base .. ':wka', worker)) or 0
  if away ~= old then
    if away > 0 then call('HSET', S.base .. ':wka', worker, int(away)) else call('HDEL', S.base .. ':wka', worker) end
    set_shard(S, AWAY, shard(S)[AWAY] + away - old)
    -- Who waited for slots may have some now.
    if away < old and call('ZCARD', S.base .. ':over') > 0 then S.ring = 1 end
  end
  if others then set_shard(S, OTHERS, others) end
  S.busy, S.crowded = nil, nil
end

transition('renew', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, raw, lease_ms, now = S.base, args[2], tonumber(args[3]), S.now
  local jobs = tonumber(args[9])
  if jobs > BUDGET then return redis.error_reply('ERR renew takes at most ' .. BUDGET .. ' jobs') end
  hear(S, lease_ms)
  local drained = is_drained(S, args[1])
  if drained then call('ZADD', base .. ':drain', S.stamp, args[1]) end
  -- The last renewal after its jobs may come after the claim with which it was parked. While it runs any, here or
  -- elsewhere, it is heard of often.
  local look = jobs == 0 and (tonumber(args[7]) or 0) == 0 and tonumber(call('ZSCORE', base .. ':idle', args[1]) or nil)
  local silence = look and max(0, look - now) or 0
  local slots = known(S, args[1])
  seen(S, args[1], args[4], slots, drained and 0 or tonumber(args[5]), args[6], silence)
  forget_gone(S)
  if args[7] ~= '' then elsewhere(S, args[1], tonumber(args[7]), tonumber(args[8])) end
  local replies, o, until_text = {}, 10, int(now + lease_ms)
  for i = 1, jobs do
    local id, epoch, events = args[o], tonumber(args[o + 1]), tonumber(args[o + 2])
    o = o + 3
    local job = load_job(base, id)
    if not holds(job, epoch) or job[WK] ~= raw then
      replies[i] = 'lost'
    else
      local t, progress, news, changed = nil, nil, {}, false
      for e = 0, events - 1 do
        local kind, data = args[o + 2 * e], args[o + 2 * e + 1]
        if kind == 'progress' then progress = data end
        news[e + 1] = S.stamp .. ' ' .. kind .. ' ' .. data
      end
      if events > 0 then
        push_events(S, id, job, news)
        job[RV], changed = job[RV] + 1, true
      end
      if not has(job, RENEWED) then
        set_flag(job, RENEWED)
        changed = true
      end
      if progress then
        call('SET', base .. ':g' .. id, progress)
        set_flag(job, HAS_PROGRESS)
        t = tenant(S, job[TN])
        if not has(job, GHOST) then tell(S, t, id, 'progress') end
      end
      local used = time_used(S, job)
      if used > job[CH] then
        t = tenant(S, job[TN])
        charge(t, used - job[CH])
        job[CH], changed = used, true
      end
      if stop_asked(job) and now - job[CX] > CANCEL_GRACE_MS then
        t = tenant(S, job[TN])
        end_lease(S, t, id, job, true)
        if not has(job, GHOST) then swept(S, t, job, CANCELED) end
        conclude(S, t, id, job, CANCELED, nil, BY_CANCEL)
        replies[i] = 'lost'
      else
        if changed then put_job(job) end
        S.leased[#S.leased + 1] = until_text
        S.leased[#S.leased + 1] = id
        replies[i] = stop_asked(job) and 'cancel' or 'ok'
      end
    end
    o = o + 2 * events
  end
  -- First what was renewed, so that the reaper does not see it.
  flush(S)
  -- While all slots are busy this is all that ends what has expired.
  promote(S, max(FEW, BUDGET - jobs))
  reap(S, FEW)
  rest(S, 2)
  -- Somebody who is free has to see it if this worker dies.
  if jobs > 0 then expect(S, now + SOON_MS) end
  flush(S)
  replies[jobs + 1] = drained and '1' or '0'
  replies[jobs + 2] = args[7] ~= '' and int(active_here(S)) or '0'
  return replies
end)
