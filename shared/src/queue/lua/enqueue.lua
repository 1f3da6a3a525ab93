-- enqueue: nothing -> queued, for up to BUDGET jobs, of one or several tenants.
-- KEYS  1 base of the shard
-- ARGV  for each job: tenant, id, text. The text is the lane's digit or, for a job that says more,
--       '<lane> <delay ms, 0 = now> <deadline ms, 0 = none> <mode> <render key> <n> <idempotency key of n bytes><fingerprint>'
--       where mode, keys and fingerprint may be empty; the mode is '' (neither share nor reuse a render), use, refresh or only.
--       In front of the first of n jobs of one tenant that shall be accepted all or none: '*<n> '. Each of them needs an
--       idempotency key of its own, and no two the same work with mode only: else those before may be accepted, and it refused.
--       The caller has SET the record (status 255) with NX and a short expiry right before, so that long
--       texts stay out of Lua; here it is made lasting, or taken away again if the job is refused.
-- Returns  for each job 'ok', 'cached' (an earlier result answered it: it has succeeded), or one of
--          {'exists', id of the earlier} {'mismatch', id of the earlier} {'full', not ended, limit}
--          {'limited', policy, limit, used, retry after ms} {'forbidden', quota, limit, asked}
--          {'no_payload'} (send it again) {'not_cached'} (asked for 'only', and there is no result)
--          {'withheld'} (another of the same all-or-none was refused, or must be sent again)
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
-- What a job may be forbidden, in the order of DEMANDS: the quota's name, the quota.
local ALLOWANCES = { { 'quality', QUALITY_MAX }, { 'timeout', TIMEOUT_MAX }, { 'source', SOURCE_MAX }, { 'code', CODE_MAX } }

local RATES = { { 'submits_per_minute', PER_MINUTE, TAT_MINUTE, MINUTE_MS }, { 'submits_per_day', PER_DAY, TAT_DAY, DAY_MS } }

-- The arrival time that one more submit would lead to, and how long to wait if that is too much. One that is
-- further ahead than any can be was noted before the clock was set back: it is forgotten.
local function arrival(tat, now, most, period_ms)
  if tat > now + 2 * period_ms then tat = now end
  local next_tat = max(tat, now) + period_ms / most
  return next_tat, next_tat - period_ms - now
end

-- What a new job asks for, by its record.
local function demands(key) return { struct_unpack(DEMANDS, call('GETRANGE', key, '0', LENGTHS_LAST), DEMANDS_AT) } end

-- Why one more job must be refused, or nil; and the arrival times that acceptance uses up, or nil.
-- A job that renders nothing (`free`) needs no place in the queue.
local function refusal(S, t, key, free)
  local now, tats = S.now, nil
  if t[QUALITY_MAX] + t[TIMEOUT_MAX] + t[SOURCE_MAX] + t[CODE_MAX] > -4 then
    local asked = demands(key)
    for i = 1, #ALLOWANCES do
      local most = t[ALLOWANCES[i][2]]
      if most >= 0 and asked[i] > most then return { 'forbidden', ALLOWANCES[i][1], most, asked[i] } end
    end
  end
  local queued_max = limit(t, QUEUED_MAX, DEFAULT_QUEUED_MAX)
  if not free and t[LIVE] >= queued_max then return { 'full', t[LIVE], queued_max } end
  if t[PER_MINUTE] >= 0 or t[PER_DAY] >= 0 then
    tats = {}
    for _, rate in ipairs(RATES) do
      local policy, most, index, period = rate[1], t[rate[2]], rate[3], rate[4]
      if most >= 0 then
        local tat, wait = arrival(t[index], now, most, period)
        if wait > 0 then
          local used = min(most, ceil((t[index] - now) / (period / most)))
          return { 'limited', policy, most, used, ceil(wait) }
        end
        tats[index] = tat
      end
    end
  end
  if not free and t[RENDER_S] >= 0 and metered(S, t) >= t[RENDER_S] * 1000 then
    local used = floor(metered(S, t) / 1000)
    return { 'limited', 'render_seconds_per_day', t[RENDER_S], used, (S.day + 1) * DAY_MS - now }
  end
  return nil, tats
end

-- The job that may answer for a render key: {id, record, what}; `what` is 'cached' or 'follow'. nil if none.
local function same_work(S, t, render, lane, timed)
  local id = call('GET', render_key(S.base, t[NAME], render))
  local other = id and load_job(S.base, id)
  if not other then return nil end
  if other[ST] == SUCCEEDED then
    local s = shard(S)
    if other[RD] == NO_RENDERER or other[RD] ~= s[RENDERER] then return nil end
    local left = call('PTTL', job_key(S.base, id))
    if left < min(REUSE_LEFT_MS, s[KEEP_OK] * 500) then return nil end
    local rendered_by = has(other, FOLLOWS) and short_id(other[WK]) or id
    if call('LLEN', sharers_key(S.base, rendered_by)) >= SHARERS_MAX then return nil end
    return { id, other, 'cached', left }
  end
  -- Who waits must not wait longer than for a render of its own: not behind a lower lane, nor a paused one.
  if timed or other[ST] > RUNS or other[DL] > 0 or stop_asked(other) or has(other, FOLLOWS) then return nil end
  if other[ST] == QUEUED and (other[SQ] == 0 or other[LN] > lane) then return nil end
  if lane_paused(S, other[LN] + 2) and not lane_paused(S, lane + 2) and other[ST] == QUEUED then return nil end
  if has(other, LEADS) and call('LLEN', followers_key(S.base, id)) >= FOLLOWERS_MAX then return nil end
  return { id, other, 'follow' }
end

-- Accepts a job as one that waits for another's render.
local function follow(S, t, id, leader_id, leader)
  local job = load_job(S.base, id)
  set_flag(job, FOLLOWS)
  job[WK] = raw_id(leader_id)
  save_job(job)
  call('RPUSH', followers_key(S.base, leader_id), id)
  set_flag(leader, LEADS)
  save_job(leader)
  t[FOLLOWING] = t[FOLLOWING] + 1
  count(S, 'following', 1)
  count(S, 'coalesced', 1)
end

-- Accepts a job as one that an earlier result answers; it is kept as long as that.
local function answer(S, t, id, other_id, other, left_ms)
  local base, job = S.base, load_job(S.base, id)
  set_flag(job, FOLLOWS)
  set_flag(job, CACHED)
  local rendered_by = has(other, FOLLOWS) and short_id(other[WK]) or other_id
  job[WK] = raw_id(rendered_by)
  job[ST], job[SA], job[FI], job[RD] = SUCCEEDED, S.now, S.now, other[RD]
  keep(S, id, job, floor(left_ms / 1000))
  save_job(job)
  local result = call('GET', result_key(base, other_id))
  if result then call('SET', result_key(base, id), result, 'PX', int(left_ms)) end
  tell(S, t, id, 'succeeded')
  -- The others that show these files live no longer than this one.
  if call('RPUSH', sharers_key(base, rendered_by), id) == 1 then call('PEXPIRE', sharers_key(base, rendered_by), int(left_ms + 1000)) end
  t[LIVE] = t[LIVE] - 1
  count(S, 'succeeded', 1)
  count(S, 'cached', 1)
end

-- A job's text: lane, delay, deadline, mode, render key, idempotency key's length, it and the fingerprint.
local SPEC = '^(%d) (%d+) (%d+) (%a*) (%S*) (%d+) (.*)$'
local LANE_DIGITS = { ['0'] = 0, ['1'] = 1, ['2'] = 2 }

local function parse(spec)
  local lane, delay, deadline, mode, render, length, rest = match(spec, SPEC)
  length = tonumber(length)
  return tonumber(lane), tonumber(delay), tonumber(deadline), mode, render, sub(rest, 1, length), sub(rest, length + 1)
end

-- Judges one job, and changes nothing: why it is not accepted, or nil; how an earlier job answers it (see
-- `same_work`); the arrival times that acceptance uses up; its idempotency key's name; whether its record is only
-- sent ahead.
local function judge(S, t, key, id, lane, delay, deadline, mode, render, idem, fingerprint)
  local base = S.base
  local status = byte(call('GETRANGE', key, '1', '1'))
  local reply, uq, as, tats
  if not status then
    reply = { 'no_payload' }
  elseif status ~= SENT_AHEAD then
    reply = { 'exists', id }
  end
  if idem ~= '' then
    uq = base .. ':uq:' .. t[NAME] .. ':' .. idem
    local earlier = call('GET', uq)
    local same_id, same_print = match(earlier or '', '^(%S+) (.*)$')
    if same_id and call('EXISTS', job_key(base, same_id)) == 1 then
      reply = { fingerprint == same_print and 'exists' or 'mismatch', same_id }
    end
  end
  if not reply then
    if mode == 'use' or mode == 'only' then
      as = same_work(S, t, render, lane, mode == 'only' or delay > 0 or deadline > 0)
    end
    local cached = as and as[3] == 'cached'
    reply, tats = refusal(S, t, key, cached)
    if not reply and mode == 'only' and not cached then reply = { 'not_cached' } end
  end
  return reply, as, tats, uq, status == SENT_AHEAD
end

-- What to answer for n jobs of which all or none shall be accepted, from the i-th of the call on; nil if
-- all can be. Each is judged as if those before it had been accepted.
local function none_of(S, args, i, n)
  local t = tenant(S, args[3 * i - 2])
  local replies, refused, ahead = {}, false, {}
  local live, minute, day = t[LIVE], t[TAT_MINUTE], t[TAT_DAY]
  for k = i, i + n - 1 do
    local id, spec = args[3 * k - 1], args[3 * k]
    if k == i then spec = match(spec, '^%*%d+ (.*)$') end
    local lane, delay, deadline, mode, render, idem, fingerprint = LANE_DIGITS[spec], 0, 0, '', '', '', ''
    if not lane then lane, delay, deadline, mode, render, idem, fingerprint = parse(spec) end
    local key = job_key(S.base, id)
    local reply, as, tats, _, is_ahead = judge(S, t, key, id, lane, delay, deadline, mode, render, idem, fingerprint)
    if is_ahead then ahead[#ahead + 1] = key end
    if reply and reply[1] ~= 'exists' then
      refused = true
    elseif not reply then
      if not (as and as[3] == 'cached') then t[LIVE] = t[LIVE] + 1 end
      for index, tat in pairs(tats or NOTHING) do t[index] = tat end
    end
    replies[#replies + 1] = reply or { 'withheld' }
  end
  t[LIVE], t[TAT_MINUTE], t[TAT_DAY] = live, minute, day
  if not refused then return nil end
  local again = false
  for k = 1, n do again = again or replies[k][1] == 'no_payload' end
  -- Records stay for the next try, if there will be one.
  if not again then
    for k = 1, #ahead do call('DEL', ahead[k]) end
  end
  return replies
end

transition('enqueue', {}, function(keys, args)
  local S = open(keys[1])
  local base, now = S.base, S.now
  local jobs = #args / 3
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR enqueue takes 1 to ' .. BUDGET .. ' jobs') end
  local replies, accepted, withheld = {}, 0, 0
  for i = 1, jobs do
    local name, id, spec = args[3 * i - 2], args[3 * i - 1], args[3 * i]
    local lane, delay, deadline, mode, render, idem, fingerprint = LANE_DIGITS[spec], 0, 0, '', '', '', ''
    if not lane and i > withheld then
      local together = match(spec, '^%*(%d+) ')
      if together then
        local none = none_of(S, args, i, min(tonumber(together), jobs - i + 1))
        for k = 1, none and #none or 0 do replies[i + k - 1] = none[k] end
        if none then withheld = i + #none - 1 end
        spec = match(spec, '^%*%d+ (.*)$')
        lane = LANE_DIGITS[spec]
      end
      if not lane then lane, delay, deadline, mode, render, idem, fingerprint = parse(spec) end
    end
    if i > withheld then
      local t, key = tenant(S, name), base .. ':j' .. id
      local reply, as, tats, uq, ahead = judge(S, t, key, id, lane, delay, deadline, mode, render, idem, fingerprint)
      local cached = as and as[3] == 'cached'
      if reply then
        if ahead then call('DEL', key) end
      else
        local number, at, dies = 0, delay > 0 and now + delay or 0, deadline > 0 and now + deadline or 0
        if not as then
          if at == 0 then
            number = push(S, t, lane + 2, id)
          else
            call('ZADD', base .. ':due', int(at), id)
            expect(S, at)
          end
          if dies > 0 then
            call('ZADD', base .. ':dl', int(dies), id)
            expect(S, dies)
          end
          if render ~= '' and at + dies == 0 then call('SET', render_key(base, name, render), id) end
        end
        call('SETRANGE', key, '1', struct_pack(HEAD_ENQUEUE, QUEUED, lane, lane + 2, 0, number, now, at, dies))
        call('PERSIST', key)
        t[LIVE] = t[LIVE] + 1
        tell(S, t, id, 'queued')
        if cached then
          answer(S, t, id, as[1], as[2], as[4])
        elseif as then
          follow(S, t, id, as[1], as[2])
        end
        if uq then call('SET', uq, id .. ' ' .. fingerprint) end
        if uq and cached then call('EXPIRE', uq, int(min(IDEMPOTENCY_KEEP_S, as[4] / 1000))) end
        if tats then for index, tat in pairs(tats) do t[index] = tat end end
        note_active(S, t)
        local listed = t[LISTED]
        if listed then listed[#listed + 1] = id else t[LISTED] = { id } end
        accepted = accepted + 1
        reply = cached and 'cached' or 'ok'
      end
      replies[i] = reply
    end
  end
  if accepted > 0 then
    count(S, 'submitted', accepted)
    flush(S)
  end
  return replies
end)
