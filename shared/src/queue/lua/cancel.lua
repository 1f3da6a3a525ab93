-- cancel: queued -> canceled at once; running -> asked to stop.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 tenant that asks
-- Returns  'canceled' | 'requested' (its worker is told; it ends within CANCEL_GRACE_MS, or with its lease) |
--          'terminal' (it had ended before) | 'none' (no such job of this tenant)
-- Safe to repeat. After it returned, no new attempt starts.
--
-- Jobs that share a render are cancelled each for itself. Who waits for another's render just leaves.
-- One that others wait for is canceled for its owner at once and goes on as their ghost, its place in
-- the queue and its lease untouched; when the last of them leaves, the render is stopped, too.

transition('cancel', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, id = S.base, args[1]
  local job = load_job(base, id)
  if not job or job[TN] ~= args[2] then return 'none' end
  if job[ST] > RUNS or has(job, GHOST) then return 'terminal' end
  local t = tenant(S, job[TN])
  local reply = 'canceled'
  if job[ST] == QUEUED and has(job, FOLLOWS) then
    local leader = short_id(job[WK])
    local other = load_job(base, leader)
    job[CX] = S.now
    t[FOLLOWING] = t[FOLLOWING] - 1
    count(S, 'following', -1)
    call('LREM', followers_key(base, leader), 1, id)
    if other then job[RV], job[GH] = job[RV] + other[RV], events_so_far(S, leader, other) end
    settle(S, t, id, job, CANCELED)
    if other and has(other, LEADS) and call('LLEN', followers_key(base, leader)) == 0 then
      clear_flag(other, LEADS)
      if has(other, GHOST) then
        give_up(S, t, leader, other)
      else
        put_job(other)
      end
    end
  elseif has(job, LEADS) then
    job[CX] = S.now
    job[GH] = events_so_far(S, id, job)
    set_flag(job, GHOST)
    save_job(job)
    hint(S, id, job[FL])
    tell(S, t, id, 'canceled')
  elseif job[ST] == QUEUED then
    job[CX] = S.now
    withdraw(S, t, id, job)
    conclude(S, t, id, job, CANCELED)
  else
    if job[CX] == 0 then
      job[CX] = S.now
      push_events(S, id, job, { S.stamp .. ' status {"status":"running","cancel_requested":true}' })
      save_job(job)
      tell(S, t, id, 'cancel_requested')
    end
    -- A hint only: if it is lost, the next renewal says the same.
    tell_worker(base, job)
    reply = 'requested'
  end
  flush(S)
  return reply
end)
