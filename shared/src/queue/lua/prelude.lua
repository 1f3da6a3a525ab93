-- What every transition shares. The files of this folder are joined into one library, this one first.
--
-- Every function takes one key: the base of a shard, such as `{mq:0}`. All other keys are built
-- from it, so they carry the same hash tag and live in one cluster slot. Their list with types
-- and expiries is `shared/src/keys.rs`.
--
-- Rules: server time only; state and epoch are checked before anything is written; a stale
-- caller changes nothing; at most BUDGET items a call.
--
-- A call opens a session `S`, changes job hashes and streams as it goes, and collects what concerns
-- tenants, leases and counters; `flush` writes that once per call. A transition must end with it.

local GROUP, CONSUMER = 'g', 'c'
local BUDGET = 100
-- A job whose lease was lost this often is poison: it becomes a dead letter.
local LOST_MAX = 3
-- Attempts that may fail by our own fault before the job fails for good.
local FAILURES_MAX = 3
-- Back-off of the n-th retry: full jitter over RETRY_BASE_MS * 2^(n-1), at most RETRY_CAP_MS.
local RETRY_BASE_MS, RETRY_CAP_MS = 1000, 60000
-- How long terminal jobs are kept, seconds, unless `retention` set something else.
local KEEP_SUCCEEDED_S, KEEP_OTHER_S = 86400, 1209600
-- How long an idempotency key outlives the end of its job (it never outlives the job's record).
local IDEMPOTENCY_KEEP_S = 86400
-- A cancel that its worker has not obeyed after this long is carried out over its head.
local CANCEL_GRACE_MS = 30000
-- A worker that has not been heard of for this long is not counted as live.
local WORKER_TTL_MS = 15000
local EVENTS_MAX = 2000
-- Limits of a tenant for which nothing else is set.
local DEFAULT_QUEUED_MAX, DEFAULT_RUNNING_MAX, DEFAULT_WEIGHT = 1000, 1000000, 1
-- Charge for a claim whose tenant has no history, slot-milliseconds, and the clamp of estimates.
local ESTIMATE_DEFAULT_MS, ESTIMATE_MIN_MS, ESTIMATE_MAX_MS = 5000, 100, 600000
-- Every AGEING-th pick of a tenant takes the lowest lane that has work, so none starves.
local AGEING = 8
-- Elastic bound: no tenant holds more than this share of the live slots (but always one may run)
-- while at least two tenants were active within ACTIVE_MS. Activity is noted once per ACTIVE_STEP_MS.
local ELASTIC_SHARE, ACTIVE_MS, ACTIVE_STEP_MS = 0.9, 600000, 10000
local MINUTE_MS, DAY_MS = 60000, 86400000
-- Lanes in the order of their claim: returned jobs first.
local LANES = { 'f', '0', '1', '2' }

-- A tenant's state is one array, packed with cmsgpack in field `a` of its hash:
-- jobs not ended; picks; usual length of a job, ms; virtual tag; where it waits and with which
-- score; when its activity was last noted; theoretical arrival times of the two submit rates;
-- day and milliseconds of the render meter; and per lane how many entered and left it.
local LIVE, PICKS, ESTIMATE, TAG, PLACE, SCORE, NOTED = 1, 2, 3, 4, 5, 6, 7
local TAT_MINUTE, TAT_DAY, METER_DAY, METER_MS = 8, 9, 10, 11
local ENTERED = { f = 12, ['0'] = 14, ['1'] = 16, ['2'] = 18 }
local LEFT = { f = 13, ['0'] = 15, ['1'] = 17, ['2'] = 19 }
-- Where a tenant is: in exactly one of these zsets, or in none because nothing of it may start.
local NOWHERE, VT, OVER, HELD, GATE = 0, 1, 2, 3, 4
local PLACES = { ':vt', ':over', ':held', ':gate' }

-- Registers one transition under the library's own prefix, so that two versions live side by side.
-- `allow-oom` on all that end or carry on work: a full Redis must still be able to drain.
local function transition(name, flags, callback)
  redis.register_function({ function_name = '@PREFIX@' .. name, flags = flags, callback = callback })
end

local function now_ms(base)
  --@CLOCK@
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Numbers as text: many times cheaper than what redis.call makes of a number.
local function int(n) return string.format('%d', n) end

local function job_key(base, id) return base .. ':j:' .. id end
local function tenant_key(base, tenant) return base .. ':t:' .. tenant end
local function stream_key(base, tenant, lane) return base .. ':t:' .. tenant .. ':q' .. lane end
local function run_key(base, tenant) return base .. ':t:' .. tenant .. ':run' end

-- Begins a call.
local function open(base)
  local now = now_ms(base)
  return { base = base, now = now, stamp = int(now), tenants = {}, list = {}, counts = {}, ended = {}, leased = {}, ring = 0 }
end

local SHARD_FIELDS = { 'V', 'slots', 'paused', 'generation', 'seen', 'hold', 'keep_ok', 'keep_other' }

-- The shard's own state, read once per call and only when needed.
local function shard(S)
  if not S.shard then
    local v = redis.call('HMGET', S.base .. ':sh', unpack(SHARD_FIELDS))
    local lanes = v[3] or ''
    S.shard = {
      V = tonumber(v[1]) or 0, slots = tonumber(v[2]) or 0, generation = tonumber(v[4]) or 0,
      seen = tonumber(v[5]) or 0, hold = tonumber(v[6]) or 0,
      keep_ok = tonumber(v[7]) or KEEP_SUCCEEDED_S, keep_other = tonumber(v[8]) or KEEP_OTHER_S,
      -- Digits of the paused lanes; `a` pauses all.
      all_paused = string.find(lanes, 'a', 1, true) ~= nil,
      lane_paused = { ['0'] = string.find(lanes, '0', 1, true), ['1'] = string.find(lanes, '1', 1, true), ['2'] = string.find(lanes, '2', 1, true) },
      changed = {},
    }
  end
  return S.shard
end

local function set_shard(S, field, value)
  local s = shard(S)
  if s[field] ~= value then
    s[field] = value
    s.changed[field] = value
  end
end

local function new_state() return { 0, 0, ESTIMATE_DEFAULT_MS, 0, NOWHERE, 0, -ACTIVE_STEP_MS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } end

-- A tenant, read once per call; `flush` writes it back.
local function tenant(S, name)
  local t = S.tenants[name]
  if not t then
    local v = redis.call('HMGET', tenant_key(S.base, name), 'a', 'q', 'p')
    t = {
      name = name, a = v[1] and cmsgpack.unpack(v[1]) or new_state(),
      quotas = v[2] and cmsgpack.unpack(v[2]) or {}, paused = v[3] == '1',
      started = {}, stopped = {}, entries = {}, pushed = 0, recheck = false,
    }
    S.tenants[name] = t
    S.list[#S.list + 1] = t
  end
  return t
end

-- Jobs of a tenant that run: its set, with what this call has not written yet.
local function running(S, t)
  if not t.run then t.run = redis.call('SCARD', run_key(S.base, t.name)) end
  return t.run + #t.started - #t.stopped
end

local function count(S, field, by) S.counts[field] = (S.counts[field] or 0) + by end

-- Notes that a tenant is active, for the elastic bound and for lists of tenants.
local function note_active(S, t)
  if S.now - t.a[NOTED] >= ACTIVE_STEP_MS then
    t.a[NOTED] = S.now
    S.crowded = nil
    redis.call('ZADD', S.base .. ':tns', S.now, t.name)
  end
end

-- Most jobs that one tenant may run now, by the elastic bound.
local function elastic_bound(S)
  return math.max(1, math.floor(shard(S).slots * ELASTIC_SHARE))
end

local function others_are_active(S)
  if S.crowded == nil then
    S.crowded = redis.call('ZCOUNT', S.base .. ':tns', S.now - ACTIVE_MS, '+inf') >= 2
  end
  return S.crowded
end

-- Render milliseconds that count for today (UTC).
local function metered(S, t)
  return t.a[METER_DAY] == math.floor(S.now / DAY_MS) and t.a[METER_MS] or 0
end

local function meter(S, t, ms)
  local day = math.floor(S.now / DAY_MS)
  t.a[METER_MS] = (t.a[METER_DAY] == day and t.a[METER_MS] or 0) + ms
  t.a[METER_DAY] = day
end

-- Where a tenant belongs: the one predicate of eligibility. Returns place and score.
-- On (re)entry to `vt` the tag is at least V, so a tenant that was away has no claim on the past.
local function belongs(S, t)
  local a, all, open_lanes = t.a, 0, 0
  local s = shard(S)
  for _, lane in ipairs(LANES) do
    local ready = a[ENTERED[lane]] - a[LEFT[lane]]
    all = all + ready
    if not s.lane_paused[lane] then open_lanes = open_lanes + ready end
  end
  if all <= 0 or t.paused then return NOWHERE, 0 end
  local busy = running(S, t)
  if busy >= (t.quotas.running or DEFAULT_RUNNING_MAX) then return NOWHERE, 0 end
  if t.quotas.render_s and metered(S, t) >= t.quotas.render_s * 1000 then
    return GATE, (math.floor(S.now / DAY_MS) + 1) * DAY_MS
  end
  if open_lanes <= 0 then return HELD, s.generation end
  if busy >= elastic_bound(S) and others_are_active(S) then return OVER, S.now end
  return VT, math.max(a[TAG], s.V)
end

-- Puts a tenant where it belongs. True if it became eligible by that.
local function place(S, t)
  local a = t.a
  local where, score = belongs(S, t)
  local was = a[PLACE]
  if where == was and (score == a[SCORE] or where == OVER) then return false end
  if was ~= where and was ~= NOWHERE then redis.call('ZREM', S.base .. PLACES[was], t.name) end
  if where ~= NOWHERE then redis.call('ZADD', S.base .. PLACES[where], score, t.name) end
  a[PLACE], a[SCORE] = where, score
  return where == VT and was ~= VT
end

-- Wakes up to n parked workers. Tokens stay in the list, so none is lost between
-- "found nothing" and "blocks on the bell".
local function ring(base, n, now)
  if redis.call('ZCARD', base .. ':idle') == 0 then return end
  redis.call('ZREMRANGEBYSCORE', base .. ':idle', '-inf', now)
  local parked = redis.call('ZCARD', base .. ':idle') - redis.call('LLEN', base .. ':bell')
  for _ = 1, math.min(n, parked) do redis.call('RPUSH', base .. ':bell', '1') end
end

-- Ends a call: writes what it collected. May be called in between, too.
local function flush(S)
  local base = S.base
  if #S.ended > 0 then redis.call('ZREM', base .. ':lease', unpack(S.ended)) end
  if #S.leased > 0 then redis.call('ZADD', base .. ':lease', unpack(S.leased)) end
  S.ended, S.leased = {}, {}
  for _, t in ipairs(S.list) do
    for lane, entries in pairs(t.entries) do
      local stream = stream_key(base, t.name, lane)
      redis.call('XACK', stream, GROUP, unpack(entries))
      redis.call('XDEL', stream, unpack(entries))
      t.entries[lane] = nil
    end
    local entered = false
    if t.recheck or (t.pushed > 0 and t.a[PLACE] ~= VT) then entered = place(S, t) end
    if t.a[PLACE] == VT then S.ring = S.ring + math.max(t.pushed, entered and 1 or 0) end
    if #t.stopped > 0 then redis.call('SREM', run_key(base, t.name), unpack(t.stopped)) end
    if #t.started > 0 then redis.call('SADD', run_key(base, t.name), unpack(t.started)) end
    redis.call('HSET', tenant_key(base, t.name), 'a', cmsgpack.pack(t.a))
  end
  S.tenants, S.list = {}, {}
  for field, by in pairs(S.counts) do
    if by ~= 0 then redis.call('HINCRBY', base .. ':ct', field, by) end
  end
  S.counts = {}
  if S.shard then
    for field, value in pairs(S.shard.changed) do redis.call('HSET', base .. ':sh', field, value) end
    S.shard.changed = {}
  end
  if S.ring > 0 then ring(base, S.ring, S.now) end
  S.ring = 0
end

-- Appends to the job's events and wakes whoever watches this job. A list, not a stream: a stream
-- takes 4 KiB at its first entry.
local function event(S, id, kind, data)
  redis.call('RPUSH', S.base .. ':je:' .. id, S.stamp .. ' ' .. kind .. ' ' .. data)
  redis.call('PUBLISH', S.base .. ':ev:' .. id, kind)
end

-- Adds to a tenant's virtual tag: slot-milliseconds by weight.
local function charge(t, ms)
  t.a[TAG] = t.a[TAG] + ms / (t.quotas.weight or DEFAULT_WEIGHT)
  t.recheck = true
end

-- Appends a job to a lane's stream; returns the fields that say where it is.
local function push(S, t, lane, id)
  local entry = redis.call('XADD', stream_key(S.base, t.name, lane), '*', 'j', id)
  local number = t.a[ENTERED[lane]] + 1
  t.a[ENTERED[lane]] = number
  t.pushed = t.pushed + 1
  return entry, number
end

-- Marks a stream entry, delivered or not, for removal.
local function drop_entry(t, lane, entry)
  local entries = t.entries[lane]
  if not entries then
    entries = {}
    t.entries[lane] = entries
  end
  entries[#entries + 1] = entry
end

-- The same for one that was not delivered yet: it also leaves the count of its lane.
local function withdraw(t, lane, entry)
  drop_entry(t, lane, entry)
  t.a[LEFT[lane]] = t.a[LEFT[lane]] + 1
  t.recheck = true
end

local JOB_FIELDS = { 'st', 'tn', 'ep', 'si', 'sl', 'at', 'wk', 'sa', 'ch', 'cx', 'fo', 'rv', 'ik', 'na', 'pg', 'dl' }

-- The fields of a job that transitions look at; nil if there is no such job.
local function load_job(base, id)
  local v = redis.call('HMGET', job_key(base, id), unpack(JOB_FIELDS))
  if not v[1] then return nil end
  return {
    st = v[1], tn = v[2], ep = v[3], si = v[4], sl = v[5], at = v[6], wk = v[7], sa = v[8], ch = v[9],
    cx = v[10], fo = v[11], rv = v[12], ik = v[13], na = v[14], pg = v[15], dl = v[16],
  }
end

-- Any non-terminal state -> a terminal one. The caller has taken the job out of stream,
-- `run`, `lease` and `due` as its state needed. `outcome` and `class` say how the last attempt
-- ended, if one was running; `answer` is what a repeated call will be told (see `answered`).
local function conclude(S, t, id, job, status, result, outcome, class, answer)
  local base, key, s = S.base, job_key(S.base, id), shard(S)
  local keep = status == 'succeeded' and s.keep_ok or s.keep_other
  redis.call('HSET', key, 'st', status, 'fi', S.stamp, 'rv', int(job.rv + 1), 'lt', '', 'nb', '',
    'ao', outcome or '', 'ac', class or '', 'fo', answer or job.fo or '')
  local done = S.stamp .. ' done {"status":"' .. status .. '"}'
  if result and result ~= '' then
    -- Its own key would cost a lookup and 100 bytes more; readers of events skip it.
    redis.call('RPUSH', base .. ':je:' .. id, S.stamp .. ' result ' .. result, done)
  else
    redis.call('RPUSH', base .. ':je:' .. id, done)
  end
  redis.call('PUBLISH', base .. ':ev:' .. id, 'done')
  redis.call('EXPIRE', key, keep)
  redis.call('EXPIRE', base .. ':jp:' .. id, keep)
  redis.call('EXPIRE', base .. ':je:' .. id, keep)
  if job.na then redis.call('EXPIRE', base .. ':ja:' .. id, keep) end
  if job.pg then redis.call('DEL', base .. ':jg:' .. id) end
  if job.ik then redis.call('EXPIRE', base .. ':uq:' .. job.tn .. ':' .. job.ik, math.min(keep, IDEMPOTENCY_KEEP_S)) end
  if job.dl then redis.call('ZREM', base .. ':dl', id) end
  t.a[LIVE] = t.a[LIVE] - 1
  count(S, status, 1)
end

-- A job that failed for good by no fault of its author can be looked at and run again.
local function bury(S, t, id)
  local dead = tenant_key(S.base, t.name) .. ':dead'
  redis.call('ZADD', dead, S.now, id)
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', '(' .. (S.now - shard(S).keep_other * 1000))
  redis.call('EXPIRE', dead, shard(S).keep_other)
end

-- Ends the lease: the job leaves the stream, `run` and `lease`. `charged` says whether the tenant
-- pays for the time, or gets back what it was charged. Returns the milliseconds used.
local function end_lease(S, t, id, job, charged)
  drop_entry(t, job.sl, job.si)
  t.stopped[#t.stopped + 1] = id
  S.ended[#S.ended + 1] = id
  local used = math.max(0, S.now - tonumber(job.sa))
  charge(t, (charged and used or 0) - tonumber(job.ch))
  if charged then meter(S, t, used) end
  return used
end

-- Puts a job whose attempt ended back to `queued`, in front of its tenant's others, or later.
local function requeue(S, t, id, job, delay_ms, reason, outcome, class, answer, attempts)
  local base, key = S.base, job_key(S.base, id)
  redis.call('RPUSH', base .. ':ja:' .. id, cjson.encode({
    n = tonumber(job.at), epoch = tonumber(job.ep), worker = job.wk,
    started_ms = tonumber(job.sa), ended_ms = S.now, outcome = outcome, class = class,
  }))
  local not_before, entry, number = '', '', ''
  if delay_ms > 0 then
    not_before = S.now + delay_ms
    redis.call('ZADD', base .. ':due', not_before, id)
  else
    entry, number = push(S, t, 'f', id)
  end
  redis.call('HSET', key, 'st', 'queued', 'rv', job.rv + 1, 'at', attempts, 'na', '1', 'lt', '', 'nb', not_before,
    'sl', 'f', 'si', entry, 'sq', number, 'fo', answer or job.fo or '')
  if job.pg then
    redis.call('DEL', base .. ':jg:' .. id)
    redis.call('HDEL', key, 'pg')
  end
  event(S, id, 'status', cjson.encode({ status = 'queued', reason = reason, retry_in_ms = delay_ms }))
end

-- The check of every call by a lease holder.
local function holds(job, epoch) return job and job.st == 'running' and job.ep == epoch end

-- What the call that settled this epoch was told, so that its repetition is told the same.
local function answered(job, epoch)
  local settled, answer = string.match(job and job.fo or '', '^(%d+) (%a+)$')
  return settled == epoch and answer or nil
end
