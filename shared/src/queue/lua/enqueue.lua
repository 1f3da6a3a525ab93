-- enqueue: nothing -> queued, for up to BUDGET jobs of one tenant.
-- KEYS  1 base of the shard
-- ARGV  1 tenant, then for each job:
--       id, lane digit, delay ms (0 = now), deadline ms (0 = none), idempotency key ('' = none), fingerprint,
--       '' (neither share nor reuse a render) | 'use' | 'refresh' | 'only', render key ('' = none)
--       The caller has SET the record (status 255) with NX and a short expiry right before, so that long
--       texts stay out of Lua; here it is made lasting, or taken away again if the job is refused.
-- Returns  for each job one of {'ok'} {'cached'} (an earlier result answered it: it has succeeded)
--          {'exists', id of the earlier} {'mismatch', id of the earlier} {'full', not ended, limit}
--          {'limited', policy, limit, used, retry after ms} {'forbidden', quota, limit, asked}
--          {'no_payload'} (send it again) {'not_cached'} (asked for 'only:', and there is no result)
-- Safe to repeat with the same ids or the same idempotency keys: the job is there once.
--
-- An idempotency key is judged by its job: it holds while the job lives and IDEMPOTENCY_KEEP_S beyond
-- its end, never longer than the job's record. Rates are GCRA (a burst of the whole limit, then evenly),
-- checked here so that all producers share one count; a refused job uses up nothing.
--
-- A render key says that two jobs of a tenant ask for the same work. If one with that key is on its way,
-- the new one waits for it (it `follows`) in place of rendering; if one has succeeded, its result answers.
-- Jobs with a delay or a deadline are never waited for, nor wait.

-- A result answers as long as it is kept for at least this much longer.
local REUSE_LEFT_MS = 3600000
-- What a job may be forbidden: the quota's name and the field of the record with what is asked for.
local DEMANDS = { { 'quality', QU }, { 'timeout', TO }, { 'source', SO }, { 'code', KI } }

-- The arrival time that one more submit would lead to, and how long to wait if that is too much.
local function arrival(tat, now, limit, period_ms)
  local next_tat = math.max(tat, now) + period_ms / limit
  return next_tat, next_tat - period_ms - now
end

-- Why one more job must be refused, or nil. `tats` receives what acceptance uses up.
-- A job that renders nothing (`free`) needs no place in the queue.
local function refusal(S, t, tats, job, free)
  local a, q, now = t.a, t.quotas, S.now
  for _, demand in ipairs(DEMANDS) do
    local limit, asked = q[demand[1]], job[demand[2]]
    if limit and asked > limit then return { 'forbidden', demand[1], limit, asked } end
  end
  local queued_max = q.queued or DEFAULT_QUEUED_MAX
  if not free and a[LIVE] >= queued_max then return { 'full', a[LIVE], queued_max } end
  for _, rate in ipairs({ { 'submits_per_minute', q.minute, TAT_MINUTE, MINUTE_MS }, { 'submits_per_day', q.day, TAT_DAY, DAY_MS } }) do
    local policy, limit, index, period = rate[1], rate[2], rate[3], rate[4]
    if limit then
      local tat, wait = arrival(a[index], now, limit, period)
      if wait > 0 then
        local used = math.min(limit, math.ceil((a[index] - now) / (period / limit)))
        return { 'limited', policy, limit, used, math.ceil(wait) }
      end
      tats[index] = tat
    end
  end
  if not free and q.render_s and metered(S, t) >= q.render_s * 1000 then
    local used = math.floor(metered(S, t) / 1000)
    return { 'limited', 'render_seconds_per_day', q.render_s, used, (math.floor(now / DAY_MS) + 1) * DAY_MS - now }
  end
end

-- The job that may answer for a render key: {id, record, what}; `what` is 'cached' or 'follow'. nil if none.
local function same_work(S, t, render, lane, timed)
  local id = redis.call('GET', render_key(S.base, t.name, render))
  local other = id and load_job(S.base, id)
  if not other then return nil end
  if other[ST] == SUCCEEDED then
    local s = shard(S)
    if other[RD] == NO_RENDERER or other[RD] ~= s.renderer then return nil end
    local left = redis.call('PTTL', job_key(S.base, id))
    if left < math.min(REUSE_LEFT_MS, s.keep_ok * 500) then return nil end
    return { id, other, 'cached', left }
  end
  -- Who waits must not wait longer than for a render of its own: not behind a lower lane.
  if timed or other[ST] > RUNS or other[DL] > 0 or stop_asked(other) or has(other, FOLLOWS) then return nil end
  if other[ST] == QUEUED and (other[SQ] == 0 or other[LN] > lane) then return nil end
  if has(other, LEADS) and redis.call('LLEN', followers_key(S.base, id)) >= FOLLOWERS_MAX then return nil end
  return { id, other, 'follow' }
end

-- What the record of a new job says of it.
local function sent_ahead(key) return { struct.unpack(HEAD, redis.call('GETRANGE', key, '0', HEAD_LAST)) } end

-- Accepts a job as one that waits for another's render.
local function follow(S, t, id, leader_id, leader)
  local job = load_job(S.base, id)
  set_flag(job, FOLLOWS)
  job[WK] = raw_id(leader_id)
  save_job(S.base, id, job)
  redis.call('RPUSH', followers_key(S.base, leader_id), id)
  set_flag(leader, LEADS)
  save_job(S.base, leader_id, leader)
  t.a[FOLLOWING] = t.a[FOLLOWING] + 1
  count(S, 'following', 1)
  count(S, 'coalesced', 1)
end

-- Accepts a job as one that an earlier result answers; it is kept as long as that.
local function answer(S, t, id, other_id, other, left_ms)
  local base, job = S.base, load_job(S.base, id)
  set_flag(job, FOLLOWS)
  set_flag(job, CACHED)
  job[WK] = has(other, FOLLOWS) and other[WK] or raw_id(other_id)
  job[ST], job[SA], job[FI], job[RD] = SUCCEEDED, S.now, S.now, other[RD]
  keep(S, id, job, SUCCEEDED, math.floor(left_ms / 1000))
  save_job(base, id, job)
  local result = redis.call('GET', result_key(base, other_id))
  if result then redis.call('SET', result_key(base, id), result, 'PX', int(left_ms)) end
  t.a[LIVE] = t.a[LIVE] - 1
  count(S, 'succeeded', 1)
  count(S, 'cached', 1)
end

transition('enqueue', {}, function(keys, args)
  local S = open(keys[1])
  local base, name, now = S.base, args[1], S.now
  local jobs = math.floor((#args - 1) / 8)
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR enqueue takes 1 to ' .. BUDGET .. ' jobs') end
  local t = tenant(S, name)
  local a = t.a
  local limited = t.quotas ~= NO_QUOTAS
  local queued_max = t.quotas.queued or DEFAULT_QUEUED_MAX
  local replies, accepted = {}, 0
  for i = 1, jobs do
    local o = i * 8 - 6
    local id, lane, delay, deadline = args[o], tonumber(args[o + 1]), tonumber(args[o + 2]), tonumber(args[o + 3])
    local idem, mode, render = args[o + 4], args[o + 6], args[o + 7]
    local key = base .. ':j' .. id
    local status = redis.call('GETRANGE', key, '1', '1')
    local reply, uq, as, tats
    if status == '' then
      reply = { 'no_payload' }
    elseif status ~= SENT_AHEAD then
      reply = { 'exists', id }
    end
    if idem ~= '' then
      uq = base .. ':uq:' .. name .. ':' .. idem
      local earlier = redis.call('GET', uq)
      local same_id, fingerprint = string.match(earlier or '', '^(%S+) (.*)$')
      if same_id and redis.call('EXISTS', job_key(base, same_id)) == 1 then
        reply = { fingerprint == args[o + 5] and 'exists' or 'mismatch', same_id }
      end
    end
    if not reply and (mode == 'use' or mode == 'only') then
      as = same_work(S, t, render, lane, mode == 'only' or delay > 0 or deadline > 0)
    end
    local cached = as and as[3] == 'cached'
    if not reply and (limited or a[LIVE] >= queued_max) then
      tats = {}
      reply = refusal(S, t, tats, sent_ahead(key), cached)
    end
    if not reply and mode == 'only' and not cached then reply = { 'not_cached' } end
    if reply then
      if status == SENT_AHEAD then redis.call('DEL', key) end
    else
      local number, at, dies = 0, delay > 0 and now + delay or 0, deadline > 0 and now + deadline or 0
      if not as then
        if at == 0 then
          number = push(S, t, lane + 2, id)
        else
          redis.call('ZADD', base .. ':due', int(at), id)
        end
        if dies > 0 then redis.call('ZADD', base .. ':dl', int(dies), id) end
        if render ~= '' and at + dies == 0 then redis.call('SET', render_key(base, name, render), id) end
      end
      redis.call('SETRANGE', key, '1', struct.pack(HEAD_ENQUEUE, QUEUED, lane, lane + 2, 0, number, now, at, dies))
      redis.call('PERSIST', key)
      a[LIVE] = a[LIVE] + 1
      if cached then
        answer(S, t, id, as[1], as[2], as[4])
      elseif as then
        follow(S, t, id, as[1], as[2])
      end
      if uq then redis.call('SET', uq, id .. ' ' .. args[o + 5]) end
      if uq and cached then redis.call('EXPIRE', uq, int(math.min(IDEMPOTENCY_KEEP_S, as[4] / 1000))) end
      if tats then for index, tat in pairs(tats) do a[index] = tat end end
      accepted = accepted + 1
      reply = { cached and 'cached' or 'ok' }
    end
    replies[i] = reply
  end
  if accepted > 0 then
    note_active(S, t)
    count(S, 'submitted', accepted)
    flush(S)
  end
  return replies
end)
