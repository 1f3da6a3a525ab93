-- What operators change while the queue runs. Each takes effect with its reply, also for jobs that wait.

-- A tenant with settings is in the list of tenants even if it never submits; without, `rest` clears it away.
local function note_settings(S, t)
  call('ZADD', S.base .. ':tns', 'NX', 0, t[NAME])
  call('ZADD', S.base .. ':rest', 'NX', S.stamp, t[NAME])
end

-- quotas: reads or sets the quotas of a tenant.
-- KEYS  1 base of the shard
-- ARGV  1 tenant, then nothing (read), or ten texts, '' for the default: queued jobs, concurrent renders,
--       submits a minute, submits a day, render seconds a day, weight, largest quality 0-4, largest time
--       limit s, largest source bytes, 0 if code is forbidden
-- Returns  the ten texts as they are now

transition('quotas', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local t = tenant(S, args[1])
  if #args > 1 then
    local minute, day, old = t[PER_MINUTE], t[PER_DAY], weight(t)
    for quota = QUEUED_MAX, CODE_MAX do
      t[quota] = tonumber(args[quota - QUEUED_MAX + 2]) or (quota == WEIGHT and 0 or -1)
    end
    -- What it is ahead of the others was charged by the old weight: else it would pay that for long after.
    local ahead = t[TAG] - shard(S)[VIRTUAL]
    if ahead > 0 then t[TAG] = t[TAG] - ahead + floor(ahead * old / weight(t) + 0.5) end
    -- A submit rate that changes begins anew: what was used under the old one has no meaning.
    if t[PER_MINUTE] ~= minute then t[TAT_MINUTE] = 0 end
    if t[PER_DAY] ~= day then t[TAT_DAY] = 0 end
    t[RECHECK] = true
    note_settings(S, t)
  end
  local reply = {}
  for quota = QUEUED_MAX, CODE_MAX do
    local unset = t[quota] < 0 or (quota == WEIGHT and t[quota] == 0)
    reply[#reply + 1] = unset and '' or format('%.17g', t[quota])
  end
  if #args > 1 then flush(S) end
  return reply
end)

-- pause: stops new attempts of a tenant, of a lane or of all; what runs goes on, submits are accepted.
-- KEYS  1 base of the shard
-- ARGV  1 'tenant' | 'lane' | 'all'  2 tenant, lane digit or ''  3 '1' pause, '0' resume
-- Returns  1 if that changed something, else 0
-- After a lane's resume, claims look again at the tenants that waited for it, a few each. Jobs of a paused lane that
-- come back (retried, released, their worker lost) wait in that lane, behind the others, not in front of all.

transition('pause', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local kind, name, on = args[1], args[2], args[3] == '1'
  local changed = false
  if kind == 'tenant' then
    local t = tenant(S, name)
    changed = (t[PAUSED] == 1) ~= on
    t[PAUSED], t[RECHECK] = on and 1 or 0, true
    note_settings(S, t)
  else
    local old, mask = shard(S)[STOPPED], kind == 'all' and ALL or 2 ^ tonumber(name)
    changed = (band(old, mask) ~= 0) ~= on
    if changed then
      set_shard(S, STOPPED, on and old + mask or old - mask)
      if not on then
        if kind == 'lane' then set_shard(S, GENERATION, shard(S)[GENERATION] + 1) end
        S.ring = BUDGET
      end
    end
  end
  flush(S)
  return changed and 1 or 0
end)

-- drain: a worker shall claim no more, finish what it runs and stay idle; or claim again.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 '1' drain, '0' undo
-- Returns  1 if that changed something, else 0
-- Holds from the reply on: `claim` gives it nothing, and `renew` tells it so. What it runs it keeps.
-- The note lasts until the worker leaves or has been silent for a day, so one that was cut off for a
-- while is still drained when it is back.

transition('drain', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, worker, on = S.base, args[1], args[2] == '1'
  local changed = is_drained(S, worker) ~= on
  if on then
    call('ZADD', base .. ':drain', S.stamp, worker)
    -- It may have been the one that looks at what becomes due.
    if call('ZREM', base .. ':idle', worker) == 1 then S.ring = 1 end
    local slots = known(S, worker)
    if slots then offer(S, worker, slots, 0) end
  else
    call('ZREM', base .. ':drain', worker)
  end
  flush(S)
  call('PUBLISH', match(base, '^{.*:') .. 'ctl}:' .. worker, '')
  return changed and 1 or 0
end)

-- retention: how long ended jobs are kept; reads it or sets it, for jobs that end from now on.
-- KEYS  1 base of the shard
-- ARGV  nothing (read), or 1 seconds for succeeded  2 seconds for all others
-- Returns  {seconds for succeeded, seconds for all others} as they are now

transition('retention', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  if #args > 0 then
    set_shard(S, KEEP_OK, max(1, tonumber(args[1])))
    set_shard(S, KEEP_OTHER, max(1, tonumber(args[2])))
    flush(S)
  end
  return { shard(S)[KEEP_OK], shard(S)[KEEP_OTHER] }
end)

-- begin: a process that comes up agrees with the others on how the data lie, or is told that it does not.
-- KEYS  1 base of the shard
-- ARGV  1 data layout of the caller  2 number of shards that it counts on
-- Returns  {'ok'} | {'layout', what is there} | {'shards', what is there}

transition('begin', { 'allow-oom' }, function(keys, args)
  local key = keys[1] .. ':sh'
  local v = call('HMGET', key, 'layout', 'shards')
  if not v[1] then
    -- Before layout 3 it was not noted.
    if call('EXISTS', key) == 1 then return { 'layout', '2' } end
    call('HSET', key, 'layout', args[1], 'shards', args[2])
    return { 'ok' }
  end
  if v[1] ~= args[1] then return { 'layout', v[1] } end
  if v[2] ~= args[2] then return { 'shards', v[2] } end
  return { 'ok' }
end)
