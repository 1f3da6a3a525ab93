-- enqueue: nothing -> queued, for up to BUDGET jobs of one tenant.
-- KEYS  1 base of the shard
-- ARGV  1 tenant, then for each job:
--       id, lane digit, delay ms (0 = now), deadline ms (0 = none), idempotency key ('' = none), fingerprint,
--       payload ('' = the caller has SET `jp:<id>` with NX and a short expiry right before; it is made lasting here)
-- Returns  for each job one of {'ok', id} {'exists', id of the earlier} {'mismatch', id of the earlier}
--          {'full', not ended, limit} {'limited', policy, limit, used, retry after ms} {'no_payload', id: send it again}
-- Safe to repeat with the same ids or the same idempotency keys: the job is there once.
--
-- An idempotency key is judged by its job: it holds while the job lives and IDEMPOTENCY_KEEP_S beyond
-- its end, never longer than the job's record. Rates are GCRA (a burst of the whole limit, then evenly),
-- checked here so that all producers share one count; a refused job uses up nothing.

-- The arrival time that one more submit would lead to, and how long to wait if that is too much.
local function arrival(tat, now, limit, period_ms)
  local next_tat = math.max(tat, now) + period_ms / limit
  return next_tat, next_tat - period_ms - now
end

-- Why one more job must be refused, or nil. `tats` receives what acceptance uses up.
local function refusal(S, t, tats)
  local a, q, now = t.a, t.quotas, S.now
  local queued_max = q.queued or DEFAULT_QUEUED_MAX
  if a[LIVE] >= queued_max then return { 'full', a[LIVE], queued_max } end
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
  if q.render_s and metered(S, t) >= q.render_s * 1000 then
    local used = math.floor(metered(S, t) / 1000)
    return { 'limited', 'render_seconds_per_day', q.render_s, used, (math.floor(now / DAY_MS) + 1) * DAY_MS - now }
  end
end

-- Stores a payload for a job that is not there yet; false if it is.
local function store_payload(base, id, payload)
  local key = base .. ':jp:' .. id
  if redis.call('SET', key, payload, 'NX') then return true end
  if redis.call('EXISTS', job_key(base, id)) == 1 then return false end
  -- Sent ahead by an earlier call that never arrived.
  redis.call('SET', key, payload)
  return true
end

transition('enqueue', {}, function(keys, args)
  local S = open(keys[1])
  local base, name, now = S.base, args[1], S.now
  local jobs = math.floor((#args - 1) / 7)
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR enqueue takes 1 to ' .. BUDGET .. ' jobs') end
  local t = tenant(S, name)
  local limited = t.quotas.minute or t.quotas.day or t.quotas.render_s
  local queued_max = t.quotas.queued or DEFAULT_QUEUED_MAX
  local replies, accepted = {}, 0
  for i = 1, jobs do
    local o = 2 + (i - 1) * 7
    local id, lane, delay, deadline = args[o], args[o + 1], tonumber(args[o + 2]), tonumber(args[o + 3])
    local idem, fingerprint, payload = args[o + 4], args[o + 5], args[o + 6]
    local uq = idem ~= '' and (base .. ':uq:' .. name .. ':' .. idem) or nil
    local earlier = uq and redis.call('GET', uq)
    local earlier_id, earlier_fingerprint
    if earlier then
      earlier_id, earlier_fingerprint = string.match(earlier, '^(%S+) (.*)$')
      if redis.call('EXISTS', job_key(base, earlier_id)) == 0 then earlier_id = nil end
    end
    local tats = {}
    local refused
    if not earlier_id and (limited or t.a[LIVE] >= queued_max) then refused = refusal(S, t, tats) end
    if earlier_id then
      replies[i] = { earlier_fingerprint == fingerprint and 'exists' or 'mismatch', earlier_id }
    elseif (refused or payload == '') and redis.call('EXISTS', job_key(base, id)) == 1 then
      replies[i] = { 'exists', id }
    elseif refused then
      replies[i] = refused
    elseif payload == '' and redis.call('PERSIST', base .. ':jp:' .. id) == 0 then
      replies[i] = { 'no_payload', id }
    elseif payload ~= '' and not store_payload(base, id, payload) then
      replies[i] = { 'exists', id }
    else
      local key, fields = job_key(base, id), nil
      if delay > 0 then
        redis.call('ZADD', base .. ':due', now + delay, id)
        fields = { 'nb', now + delay, 'sl', lane }
      else
        local entry, number = push(S, t, lane, id)
        fields = { 'si', entry, 'sl', lane, 'sq', int(number) }
      end
      if deadline > 0 then
        redis.call('ZADD', base .. ':dl', now + deadline, id)
        fields[#fields + 1], fields[#fields + 2] = 'dl', now + deadline
      end
      if uq then
        redis.call('SET', uq, id .. ' ' .. fingerprint)
        fields[#fields + 1], fields[#fields + 2] = 'ik', idem
      end
      redis.call('HSET', key, 'st', 'queued', 'tn', name, 'ln', lane, 'ca', S.stamp, 'rv', '1', unpack(fields))
      t.a[LIVE] = t.a[LIVE] + 1
      for index, tat in pairs(tats) do t.a[index] = tat end
      accepted = accepted + 1
      replies[i] = { 'ok', id }
    end
  end
  if accepted > 0 then
    note_active(S, t)
    count(S, 'submitted', accepted)
    flush(S)
  end
  return replies
end)
