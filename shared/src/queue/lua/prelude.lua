-- What every transition shares. The files of this folder are joined into one library, this one first.
--
-- Every function is called with the base of a shard, such as `{mq:0}`, as KEYS 1. All other keys are built
-- from it, so they carry the same hash tag and live in one cluster slot. KEYS 2, the base with a colon, is
-- for Redis alone: `command` in `shared/src/queue/call.rs` says why. Their list with types
-- and expiries is `shared/src/keys.rs`; the form of a job's record is `shared/src/queue/record.rs`.
--
-- Rules: server time only; state and epoch are checked before anything is written; a stale
-- caller changes nothing; at most BUDGET jobs a call, each with FOLLOWERS_MAX followers. Beside these, claims and
-- renewals see to what nobody asked for: FEW jobs that are late or due (a renewal of less than BUDGET jobs: as many
-- as it leaves of that), FEW lost leases, FEW silent workers, and 110 tenants that waited for something (a
-- claim that found too few at first sees to all of it once more).
--
-- A call opens a session `S`, changes jobs and streams as it goes, and collects what concerns
-- tenants, leases and counters; `flush` writes that once per call. A transition must end with it.
--
-- Speed: a redis.call costs 0.4 to 2 us, more than most of what it does. So a job is one string whose
-- head is overwritten in place, a tenant is one packed array, and what many jobs of a call need is
-- sent once with many arguments. Next come calls of functions, 0.1 us each: what every job passes is written
-- out, so `n - n % 1` is the floor of n. And strings: Redis' Lua reads each byte of a new one, 1 ns each.

-- Redis offers these to functions that run, not to the text that is loaded. A local name is found in a
-- fraction of the time that a field of a global takes, and each is used many times a call.
local call, try_call, struct_pack, struct_unpack, spread, band, floor, ceil, max, min, match, sub, byte, format
-- The state of a tenant that is new.
local no_state

local GROUP, CONSUMER = 'g', 'c'
local BUDGET, FEW = 100, 10
-- A job whose lease was lost this often is poison: it becomes a dead letter. A lease that was never renewed says less:
-- its worker died within seconds, or the answer to its claim was lost and nobody ran the job. So of these it may be more.
local LOST_MAX, SILENT_MAX = 3, 8
-- How long a job waits that failed by our own fault, ms, at most, by the class of the failure and how often that has
-- happened to it; half of it is certain, the rest is jitter. After the last one it fails for good. Storage may be away
-- for a minute. A slot without a sandbox claims nothing, so a sandbox that is away needs no such time; one that
-- broke may have been broken by the job. Other classes (`internal`) are most likely not cured by waiting.
local RETRY_MS = { storage = { 4000, 60000, 60000 }, sandbox_unavailable = { 2000, 15000 } }
local RETRY_OTHER_MS = { 1000, 2000 }
-- How long terminal jobs are kept, seconds, unless `retention` set something else.
local KEEP_SUCCEEDED_S, KEEP_OTHER_S = 86400, 1209600
-- How long an idempotency key outlives the end of its job (it never outlives the job's record).
local IDEMPOTENCY_KEEP_S = 86400
-- A cancel that its worker has not obeyed after this long is carried out over its head.
local CANCEL_GRACE_MS = 30000
-- A worker that has not been heard of for this long, from when it was to be heard of again, is not counted as live.
local WORKER_TTL_MS = 15000
-- `PARK`, `SOON` and `ELSEWHERE_MAX` of the crate.
local PARK_MS, SOON_MS, ELSEWHERE_MAX_MS = @PARK_MS@, @SOON_MS@, @ELSEWHERE_MAX_MS@
-- Events of one job that are kept, and notes of earlier attempts.
local EVENTS_MAX, ATTEMPTS_MAX = 2000, 100
-- News of one tenant that are kept while somebody listens, and news that wait for their webhooks to be looked up.
local FEED_MAX, HOOK_NEWS_MAX = 5000, 10000
-- Jobs that may wait for another's render of the same; one more is rendered for itself.
local FOLLOWERS_MAX = 8
-- Jobs that may be answered by one render; after that many the next one renders anew, and answers for those after it.
local SHARERS_MAX = 1000
-- Limits of a tenant for which nothing else is set.
local DEFAULT_QUEUED_MAX, DEFAULT_RUNNING_MAX, DEFAULT_WEIGHT = 1000, 1000000, 1
-- Charge for a claim of a tenant without history when nobody has one, slot-milliseconds, and the clamp of
-- estimates.
local ESTIMATE_DEFAULT_MS, ESTIMATE_MIN_MS, ESTIMATE_MAX_MS = 5000, 100, 600000
-- Every AGEING-th pick of a tenant takes a lower lane that has work; of two such lanes each has every other of
-- these picks. So none starves.
local AGEING = 8
-- Elastic bound: while at least two tenants were active within ACTIVE_MS, slots beyond this share of the
-- live ones are for tenants that hold less than their part. Activity is noted once per ACTIVE_STEP_MS.
local ELASTIC_SHARE, RESERVE_FROM, ACTIVE_MS, ACTIVE_STEP_MS = 0.9, 5, 600000, 10000
local MINUTE_MS, DAY_MS = 60000, 86400000
-- The list of a day's jobs lives longer than jobs are kept by a day, which it spans, the longest deadline
-- and a day to run in. Whoever waits longer than a week has it prolonged when it ends.
local LISTED_BEYOND_S, LONG_WAIT_MS = 777600, 604800000
-- Most that one attempt is charged and metered for: twice the longest time limit. More is a clock that was set.
local USED_MAX_MS = 7200000
-- Lanes in the order of their claim: returned jobs first. A job's record holds the index.
local LANES = { 'f', '0', '1', '2' }
local LANE_KEYS = { ':qf', ':q0', ':q1', ':q2' }
local RETURNED = 1

-- A tenant's state is one string of fixed form: jobs not ended; picks; usual length of a job, ms (0: not
-- known); virtual tag; where it waits and with which score; when its activity was last noted; theoretical
-- arrival times of the two submit rates; day and milliseconds of the render meter; jobs that run; whether it
-- is paused; jobs that wait for another's render; for each lane how many entries went in, how many went out,
-- the number of the last that was handed out, and how many that are done with are still in the stream; its quotas (-1: the default; weight 0: the default);
-- until when its feed is listened to, and whether it has webhooks. A newer version may append to it, and an older one leaves that as it is.
local STATE = '<I4I4I4dBdi6ddI4I6I4BI4I6I6I6I6I6I6I6I6I6I6I6I6I2I2I2I2i6i6i6i6i6di6i6i6i6I6B'
-- A tenant in Lua: its name, its key, the text that was read and what a newer version appended to that; then what this call
-- did to it: jobs pushed, whether its place may be another, jobs for its list, entries that it withdrew, news, whose turn it is (see
-- `plan`), whether entries are done with, and for each lane which (false: none). Then the fields of its state. One table that is made at once, like a job's.
local NAME, STATE_KEY, WAS, REST, PUSHED, RECHECK, LISTED, WITHDRAWN, NEWS, READING = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
-- Added to a lane's index (1 to 4).
local ENDED = 11
local STATE_FROM, LIVE, PICKS, ESTIMATE, TAG, PLACE, SCORE, NOTED = 16, 16, 17, 18, 19, 20, 21, 22
local TAT_MINUTE, TAT_DAY, METER_DAY, METER_MS = 23, 24, 25, 26
local RUNNING, PAUSED, FOLLOWING = 27, 28, 29
-- Added to a lane's index, likewise.
local ENTERED, LEFT, SERVED, STALE = 29, 33, 37, 41
local QUEUED_MAX, RUNNING_MAX, PER_MINUTE, PER_DAY, RENDER_S, WEIGHT = 46, 47, 48, 49, 50, 51
local QUALITY_MAX, TIMEOUT_MAX, SOURCE_MAX, CODE_MAX, FEED, HOOKED, STATE_TO = 52, 53, 54, 55, 56, 57, 57

-- A shard's state, likewise: virtual time; slots of the live workers; generation of lane pauses; when a worker
-- was last heard of; until when the reaper holds back; seconds that succeeded and other jobs are kept; the newest renderer;
-- everybody's usual job, ms; when a claim last swept; what is paused (ALL, or the lanes 1, 2, 4);
-- whether tenants may be in `over`, `held` or `gate`; jobs that the workers run for other shards, and tenants
-- active there, as last told (see `elsewhere`).
local SHARD = '<dI4I4I6I6I6I6c8I4I6BBI4I4'
local VIRTUAL, SLOTS, GENERATION, SEEN, HOLD, KEEP_OK, KEEP_OTHER, RENDERER = 1, 2, 3, 4, 5, 6, 7, 8
local USUAL, SWEPT, STOPPED, ASIDE, AWAY, OTHERS, SHARD_FIELDS = 9, 10, 11, 12, 13, 14, 14
local ALL = 8
-- Where a tenant is: in exactly one of these zsets, or in none because nothing of it may start.
local NOWHERE, VT, OVER, HELD, GATE = 0, 1, 2, 3, 4
local PLACES = { ':vt', ':over', ':held', ':gate' }

-- A job's record: HEAD is fixed and overwritten in place; behind it the tenant's name, the
-- idempotency key, the render key and the payload, written once by the producer. The first byte is the
-- length of the head: a newer version may append fields to it, and an older one leaves those as they are.
-- `record.rs` has the same list with what each field means. What an enqueue writes comes first, then what
-- a claim writes, then what other transitions write, so that none of them packs the rest; last what never changes:
-- what quotas may forbid (DEMANDS_AT is where, from 1), the payload's length, and those of the three strings.
local HEAD_ENQUEUE = '<BBBI2I6I6I6I6'
local HEAD_CLAIM = '<BBBBI2I6I6I6I6I4I2I4I6I4BBc16c16c8'
local HEAD_FRONT = '<BBBBI2I6I6I6I6I4I2I4'
local HEAD = '<BBBBI2I6I6I6I6I4I2I4I6I4BBc16c16c8BBI6I6I4BI4I4'
local DEMANDS = '<BI4I4B'
local DEMANDS_AT, LENGTHS_AT, LENGTHS_LAST = 120, 134, 136
-- A job in Lua: its record's key, the three strings (false: none), then the fields from the head's length on. In this
-- order, because a table that is made at once need not grow.
local KEY, TN, IK, RK, HEAD_FROM = 1, 2, 3, 4, 5
local ST, LN, SL, FL, SQ, CA, NB, DL = 6, 7, 8, 9, 10, 11, 12, 13
local EP, AT, RV, SA, CH, AO, AC, WK, LT, RD, CLAIM_TO = 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 23
local FA, CR, FI, CX, FO, FR, ED, GH, HEAD_TO = 24, 25, 26, 27, 28, 29, 30, 31, 31
-- Last bytes of HEAD_FRONT, which is what a claim needs, of what mostly holds the head with its strings, and of what always does.
local FRONT_LAST, HEAD_LAST, STRINGS_LAST = '39', '219', '295'
local NO_ID, NO_RENDERER = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0', '\0\0\0\0\0\0\0\0'

-- Codes in a record. Never renumber.
-- A record that a producer has sent ahead of its `enqueue` has status 255 and a short expiry.
local QUEUED, RUNS, SUCCEEDED, FAILED, CANCELED, EXPIRED = 0, 1, 2, 3, 4, 5
local SENT_AHEAD = 255
local STATUS = { [0] = 'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired' }
-- How an attempt ended.
local BY_SUCCESS, BY_FAILURE, BY_CANCEL, BY_LOSS, BY_RELEASE = 1, 2, 3, 4, 5
local LOST_WORKER = 9
-- What the call that settled an epoch was told.
local ANSWERS = { 'ok', 'canceled', 'failed', 'retry', 'released' }
local TOLD_OK, TOLD_CANCELED, TOLD_FAILED, TOLD_RETRY, TOLD_RELEASED = 1, 2, 3, 4, 5

-- Flags of a record (powers of two), by arithmetic: Lua 5.1 has no bit operators of its own.
-- Has: events, notes of attempts, progress, a start that is not among the events yet; waits for another's render; is waited for; was answered by an earlier result; is
-- canceled for its owner but goes on for those who wait for it; its attempt's lease was renewed.
local HAS_EVENTS, HAS_ATTEMPTS, HAS_PROGRESS, HAS_START = 1, 2, 4, 16
local FOLLOWS, LEADS, CACHED, GHOST, RENEWED = 32, 64, 128, 256, 512
local function has(job, flag) return job[FL] % (2 * flag) >= flag end
local function set_flag(job, flag)
  if not has(job, flag) then job[FL] = job[FL] + flag end
end
local function clear_flag(job, flag)
  if has(job, flag) then job[FL] = job[FL] - flag end
end

local function bind()
  call, try_call, struct_pack, struct_unpack = redis.call, redis.pcall, struct.pack, struct.unpack
  band, floor, ceil, max, min = bit.band, math.floor, math.ceil, math.max, math.min
  match, sub, byte, format, spread = string.match, string.sub, string.byte, string.format, unpack
  no_state = struct_pack(STATE, 0, 0, 0, 0, NOWHERE, 0, -ACTIVE_STEP_MS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    -1, -1, -1, -1, -1, 0, -1, -1, -1, -1, 0, 0)
end

-- Registers one transition under the library's own prefix, so that two versions live side by side.
-- `allow-oom` on all that end or carry on work: a full Redis must still be able to drain.
local function transition(name, flags, callback)
  local function bound(keys, args)
    if not call then bind() end
    return callback(keys, args)
  end
  redis.register_function({ function_name = '@PREFIX@' .. name, flags = flags, callback = bound })
end

local function now_ms(base)
  --@CLOCK@
  local t = call('TIME')
  return tonumber(t[1]) * 1000 + floor(tonumber(t[2]) / 1000)
end

-- Numbers as text: many times cheaper than what redis.call makes of a number.
local function int(n) return format('%d', n) end

local function hex(raw) return (string.gsub(raw, '.', function(c) return format('%02x', byte(c)) end)) end
local function worker_name(raw) return 'wk_' .. hex(raw) end

-- Ids have two forms here: 22 characters in keys (see `JobId::short`), and 16 raw bytes in
-- the field of a record that names the job whose render it waits for.
local ALPHABET = '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz'
local function raw_id(short)
  local bytes, held, bits = {}, 0, 0
  for i = 1, #short do
    held, bits = held * 64 + string.find(ALPHABET, sub(short, i, i), 1, true) - 1, bits + 6
    if bits >= 8 then
      bits = bits - 8
      local first = floor(held / 2 ^ bits)
      held = held - first * 2 ^ bits
      bytes[#bytes + 1] = string.char(first)
    end
  end
  return table.concat(bytes)
end

local function short_id(raw)
  local digits, held, bits = {}, 0, 0
  for i = 1, #raw do
    held, bits = held * 256 + byte(raw, i), bits + 8
    while bits >= 6 do
      bits = bits - 6
      local digit = floor(held / 2 ^ bits)
      held = held - digit * 2 ^ bits
      digits[#digits + 1] = sub(ALPHABET, digit + 1, digit + 1)
    end
  end
  if bits > 0 then
    local digit = held * 2 ^ (6 - bits)
    digits[#digits + 1] = sub(ALPHABET, digit + 1, digit + 1)
  end
  return table.concat(digits)
end

local function job_key(base, id) return base .. ':j' .. id end
local function result_key(base, id) return base .. ':r' .. id end
local function events_key(base, id) return base .. ':e' .. id end
local function followers_key(base, id) return base .. ':f' .. id end
local function tenant_key(base, tenant) return base .. ':t:' .. tenant end
local function stream_key(base, tenant, lane) return base .. ':t:' .. tenant .. ':q' .. LANES[lane] end
local function render_key(base, tenant, render) return base .. ':k:' .. tenant .. ':' .. render end
local function sharers_key(base, id) return base .. ':u' .. id end
-- The jobs of a tenant that were accepted on a day (UTC), in that order.
local function day_key(ms) return ':j' .. int(floor(ms / DAY_MS)) end
local function list_key(base, tenant, ms) return base .. ':t:' .. tenant .. day_key(ms) end

-- Begins a call.
local function open(base)
  local now = now_ms(base)
  return { base = base, now = now, stamp = int(now), day = floor(now / DAY_MS), tenants = {}, list = {}, counts = {}, ended = {}, leased = {}, starting = 0, texts = {}, hints = {}, ring = 0 }
end

-- The shard's own state, read once per call and only when needed; `flush` writes it back.
local function shard(S)
  local s = S.shard
  if not s then
    local v = call('GET', S.base .. ':s')
    s = v and { struct_unpack(SHARD, v) } or { 0, 0, 0, 0, 0, KEEP_SUCCEEDED_S, KEEP_OTHER_S, NO_RENDERER, ESTIMATE_DEFAULT_MS, 0, 0, 0, 0, 0 }
    S.shard, S.shard_rest = s, v and sub(v, s[SHARD_FIELDS + 1]) or ''
  end
  return s
end

local function set_shard(S, field, value)
  local s = shard(S)
  if s[field] ~= value then s[field], S.shard_changed = value, true end
end

local function all_paused(S) return shard(S)[STOPPED] >= ALL end
-- A returned job is paused with the lane that it asked for (see `start`).
local function lane_paused(S, lane) return lane > RETURNED and band(shard(S)[STOPPED], 2 ^ (lane - 2)) ~= 0 end

-- Tenants as earlier calls left them, by shard and name, to be taken up again where the text in Redis is still the one
-- that was written then: to take one apart costs as much as three calls of Redis. At most TABLES_MAX, 1.5 kB each.
local TABLES_MAX = 16384
local tables, tables_count = {}, 0

-- A tenant, read once per call; `flush` writes it back if it changed.
local function tenant(S, name)
  local t = S.tenants[name]
  if not t then
    local known = tables[S.base]
    t = known and known[name]
    local key = t and t[STATE_KEY] or S.base .. ':t:' .. name
    local v = call('GET', key) or no_state
    if t and t[WAS] == v then
      -- Back by `flush` only: what a call that fails has done to it is not in Redis.
      known[name] = false
    else
      t = { name, key, v, '', 0, false, false, false, false, false, false, false, false, false, false, struct_unpack(STATE, v) }
      -- Behind what it unpacks `unpack` tells where that ends.
      local last = t[STATE_TO + 1]
      if last <= #v then t[REST] = sub(v, last) end
    end
    S.tenants[name] = t
    S.list[#S.list + 1] = t
  end
  return t
end

-- Keeps a tenant, whose state in Redis is `text` now, for later calls.
local function remember(S, t, text)
  t[WAS], t[PUSHED], t[RECHECK], t[LISTED], t[WITHDRAWN], t[NEWS], t[READING] = text, 0, false, false, false, false, false
  if t[ENDED] then t[ENDED], t[ENDED + 1], t[ENDED + 2], t[ENDED + 3], t[ENDED + 4] = false, false, false, false, false end
  local known, name = tables[S.base], t[NAME]
  if not known or known[name] == nil then
    if tables_count >= TABLES_MAX then tables, tables_count, known = {}, 0, nil end
    if not known then
      known = {}
      tables[S.base] = known
    end
    tables_count = tables_count + 1
  end
  known[name] = t
end

-- A tenant's quota, or what holds without one.
local function limit(t, quota, otherwise)
  local value = t[quota]
  return value >= 0 and value or otherwise
end

local function weight(t)
  local value = t[WEIGHT]
  return value > 0 and value or DEFAULT_WEIGHT
end

-- What a tenant is charged for milliseconds of a slot, in units of the virtual time: microseconds by weight.
local function virtual(t, ms)
  local own = t[WEIGHT]
  local charged = ms * 1000 / (own > 0 and own or DEFAULT_WEIGHT) + 0.5
  return charged - charged % 1
end

local function count(S, field, by) S.counts[field] = (S.counts[field] or 0) + by end

-- Notes that a tenant is active: for the elastic bound, for lists of tenants, and so that `rest`
-- looks at it when it has been quiet for long. True if that was news. The canary (see `TenantId::canary`) is in
-- the list, but never counts as active: slots are not kept back on its account.
local function note_active(S, t)
  if t[NAME] == '_canary' then
    if t[LIVE] == 0 or t[NOTED] <= 0 then call('ZADD', S.base .. ':tns', 'NX', 0, t[NAME]) end
    t[NOTED] = S.now
    return
  end
  -- Less than nothing: it was noted before the clock was set back.
  local since = S.now - t[NOTED]
  if since >= ACTIVE_STEP_MS or since <= -ACTIVE_STEP_MS then
    if since >= ACTIVE_MS or since < 0 then call('ZADD', S.base .. ':rest', int(S.now + ACTIVE_MS), t[NAME]) end
    t[NOTED] = S.now
    S.crowded = nil
    call('ZADD', S.base .. ':tns', S.stamp, t[NAME])
    return true
  end
end

-- Length of a tenant's usual job: its own, or everybody's as long as it has no history.
local function usual(S, t)
  local own = t[ESTIMATE]
  return own > 0 and own or shard(S)[USUAL]
end

-- Tenants of this shard that were active lately.
local function active_here(S) return call('ZCOUNT', S.base .. ':tns', int(S.now - ACTIVE_MS), int(S.now + ACTIVE_STEP_MS)) end

-- How many more jobs a tenant may start before the elastic bound stops it; 0 or less: it does.
-- Fair order alone cannot help a light tenant while every slot holds a long job: so the last slots are
-- only for tenants that hold less than their part of all. With fewer than five slots none is kept back.
local function elastic_room(S, t)
  local s, crowded = S.shard or shard(S), S.crowded
  if crowded == nil then
    crowded = active_here(S) + s[OTHERS]
    S.crowded = crowded
  end
  if crowded < 2 then return DEFAULT_RUNNING_MAX end
  if not S.busy then S.busy = call('ZCARD', S.base .. ':lease') + S.starting + #S.leased / 2 - #S.ended + s[AWAY] end
  local slots = s[SLOTS]
  local common = slots
  if slots >= RESERVE_FROM then
    common = slots * ELASTIC_SHARE
    common = common - common % 1
  end
  local of_all = (common > 1 and common or 1) - S.busy
  -- More than a call can take: its part does not matter.
  if of_all >= BUDGET then return of_all end
  local part = slots * weight(t) / crowded
  local of_own = (part > 1 and part + -part % 1 or 1) - t[RUNNING]
  return of_all > of_own and of_all or of_own
end

-- Render milliseconds that count for today (UTC).
local function metered(S, t)
  return t[METER_DAY] == S.day and t[METER_MS] or 0
end

local function meter(S, t, ms)
  t[METER_MS] = metered(S, t) + ms
  t[METER_DAY] = S.day
end

-- Jobs that wait in a lane's stream.
local function waiting(t, lane) return t[ENTERED + lane] - t[LEFT + lane] end

-- The least virtual tag with which a tenant is served: behind V by what its running jobs and one more are
-- charged. So what comes back of a charge counts, and nobody saves up more, whether by refunds or by being away.
local function least_tag(S, t)
  return shard(S)[VIRTUAL] - virtual(t, (t[RUNNING] + 1) * t[ESTIMATE])
end

-- Where a tenant belongs: the one predicate of eligibility. Returns place and score.
local function belongs(S, t)
  if t[PAUSED] == 1 then return NOWHERE, 0 end
  local all = t[ENTERED + 1] + t[ENTERED + 2] + t[ENTERED + 3] + t[ENTERED + 4] - t[LEFT + 1] - t[LEFT + 2] - t[LEFT + 3] - t[LEFT + 4]
  local most = t[RUNNING_MAX]
  if all <= 0 or t[RUNNING] >= (most >= 0 and most or DEFAULT_RUNNING_MAX) then return NOWHERE, 0 end
  if t[RENDER_S] >= 0 and metered(S, t) >= t[RENDER_S] * 1000 then
    return GATE, (S.day + 1) * DAY_MS
  end
  local s = S.shard or shard(S)
  if s[STOPPED] > 0 then
    for lane = 2, 4 do
      if lane_paused(S, lane) then all = all - waiting(t, lane) end
    end
    if all <= 0 then return HELD, s[GENERATION] end
  end
  if elastic_room(S, t) <= 0 then return OVER, S.now end
  local tag = t[TAG]
  -- A tag that is ahead of all is no less than the least one, whatever that is.
  if tag >= s[VIRTUAL] then return VT, tag end
  local least = least_tag(S, t)
  return VT, tag > least and tag or least
end

-- Notes that somebody has to look by this time: if none of the parked workers will, `flush` wakes one.
local function expect(S, at) S.expected = S.expected and min(S.expected, at) or at end

-- Puts a tenant where it belongs. True if it became eligible by that. With `line`, a list for `add_members`, who
-- belongs into `vt` is only noted there.
local function place(S, t, line)
  local where, score = belongs(S, t)
  local was = t[PLACE]
  if where == was and (score == t[SCORE] or where == OVER) then return false end
  if was ~= where and was ~= NOWHERE then call('ZREM', S.base .. PLACES[was], t[NAME]) end
  if where == VT and line then
    line[#line + 1], line[#line + 2] = int(score), t[NAME]
  elseif where ~= NOWHERE then
    call('ZADD', S.base .. PLACES[where], int(score), t[NAME])
  end
  t[PLACE], t[SCORE] = where, score
  if where > VT and shard(S)[ASIDE] == 0 then
    set_shard(S, ASIDE, 1)
    expect(S, S.now + SOON_MS)
  end
  return where == VT and was ~= VT
end

-- Adds to a sorted set: scores and members in turn. Redis keeps a small one as one text and walks through it for
-- each member that is added; one long member makes a skip list of it, which it stays until it is empty.
local MANY = 16
local LONG_MEMBER = '-----------------------------------------------------------------'
local function add_members(key, members)
  if #members < 2 * MANY then
    call('ZADD', key, spread(members))
  else
    call('ZADD', key, '0', LONG_MEMBER, spread(members))
    call('ZREM', key, LONG_MEMBER)
  end
end

-- Milliseconds until the first and the second of the parked workers look again by themselves; nil if there are not so many.
local function next_looks(S)
  local found = call('ZRANGEBYSCORE', S.base .. ':idle', '(' .. S.stamp, '+inf', 'WITHSCORES', 'LIMIT', '0', '2')
  return found[2] and tonumber(found[2]) - S.now, found[4] and tonumber(found[4]) - S.now
end

-- Wakes up to n parked workers. Tokens stay in the list, so none is lost between
-- "found nothing" and "blocks on the bell".
local function ring(base, n, now)
  if call('ZCARD', base .. ':idle') == 0 then return end
  -- Who is late is dead, or was parked before the clock was set ahead and would sleep on: one more token for each.
  local late = call('ZREMRANGEBYSCORE', base .. ':idle', '-inf', now)
  local parked = call('ZCARD', base .. ':idle') - call('LLEN', base .. ':bell')
  for _ = 1, max(0, min(n, parked)) + late do call('RPUSH', base .. ':bell', '1') end
end

-- A stream keeps up to so many entries that are done with: XDEL walks through a node of a hundred entries
-- for each that it takes out, XTRIM takes out all at once.
local TRIM_FROM = 16

-- Takes out of a stream what is done with: all before the first that is pending, and of the rest `entries`.
local function trim(S, t, lane, entries)
  local stream = t[STATE_KEY] .. LANE_KEYS[lane]
  -- The group is there once somebody claimed from the stream; what runs is pending.
  local pending = t[RUNNING] > 0 and try_call('XPENDING', stream, GROUP)
  local first = pending and not pending.err and pending[2]
  first = first and tonumber(match(first, '^%d+')) or t[SERVED + lane] + 1
  local gone, others = call('XTRIM', stream, 'MINID', int(first)), {}
  for i = 1, #entries do
    if tonumber(match(entries[i], '^%d+')) >= first then others[#others + 1] = entries[i] end
  end
  if #others > 0 then gone = gone + call('XDEL', stream, spread(others)) end
  t[STALE + lane] = max(0, t[STALE + lane] - gone)
end

local NOTHING = {}

-- Notes that something happened to a job (a status, 'progress' or 'cancel_requested') for those who listen to all
-- jobs of its tenant, and for the tenant's webhooks. Costs nothing while there are neither.
local function tell(S, t, id, what)
  if t[HOOKED] == 0 and t[FEED] <= S.now then return end
  t[NEWS] = t[NEWS] or {}
  t[NEWS][#t[NEWS] + 1] = id
  t[NEWS][#t[NEWS] + 1] = what
end

-- What webhooks are told of: not what passes by many times.
local HOOK_EVENTS = { running = 'job.started', succeeded = 'job.succeeded', failed = 'job.failed', canceled = 'job.canceled', expired = 'job.expired' }

-- Whether one more of a tenant's news may wait, which is then counted.
local function note_news(S, name)
  if call('HINCRBY', S.base .. ':hooksn', name, 1) <= HOOK_NEWS_MAX then return true end
  -- No API process has looked for long.
  call('HINCRBY', S.base .. ':hooksn', name, -1)
  count(S, 'hooks_dropped', 1)
  return false
end

local function write_news(S, t)
  local feed, hooks, news = t[STATE_KEY] .. ':feed', S.base .. ':hooks', t[NEWS]
  t[NEWS] = false
  if t[FEED] > S.now then
    for i = 1, #news, 2 do call('XADD', feed, 'MAXLEN', '~', FEED_MAX, '*', 'j', news[i], 's', news[i + 1]) end
    call('PUBLISH', feed, '')
  end
  if t[HOOKED] == 1 then
    local some = false
    for i = 1, #news, 2 do
      local event = HOOK_EVENTS[news[i + 1]]
      if event and note_news(S, t[NAME]) then
        call('XADD', hooks, '*', 't', t[NAME], 'j', news[i], 's', event, 'at', S.stamp)
        some = true
      end
    end
    if some then call('PUBLISH', hooks, '') end
  end
end

-- Notes a tenant's new jobs in its list, in one call for all of them. One that is forgotten is just not found
-- any more by whoever reads the list.
local function note_listed(S, t)
  local listed = t[LISTED]
  S.today = S.today or day_key(S.now)
  local key = t[STATE_KEY] .. S.today
  if call('RPUSH', key, spread(listed)) == #listed then
    local s = shard(S)
    call('EXPIRE', key, int(max(s[KEEP_OK], s[KEEP_OTHER]) + LISTED_BEYOND_S))
  end
  t[LISTED] = false
end

-- Ends a call: writes what it collected. May be called in between, too.
local function flush(S)
  local base = S.base
  if #S.ended > 0 then
    call('ZREM', base .. ':lease', spread(S.ended))
    S.ended = {}
  end
  if #S.leased > 0 then
    add_members(base .. ':lease', S.leased)
    S.leased = {}
  end
  local line, states = {}, {}
  for i = 1, #S.list do
    local t = S.list[i]
    if t[WITHDRAWN] then
      for lane, entries in pairs(t[WITHDRAWN]) do call('XDEL', t[STATE_KEY] .. LANE_KEYS[lane], spread(entries)) end
    end
    if t[ENDED] then
      for lane = 1, 4 do
        local entries = t[ENDED + lane] or NOTHING
        if #entries > 0 then
          call('XACK', t[STATE_KEY] .. LANE_KEYS[lane], GROUP, spread(entries))
          t[STALE + lane] = t[STALE + lane] + #entries
        end
        local stale = t[STALE + lane]
        if stale >= TRIM_FROM or (stale > 0 and t[RUNNING] == 0 and waiting(t, lane) == 0) then trim(S, t, lane, entries) end
      end
    end
    local entered = false
    if t[LISTED] then note_listed(S, t) end
    if t[RECHECK] or (t[PUSHED] > 0 and t[PLACE] ~= VT) then entered = place(S, t, line) end
    if t[PLACE] == VT then S.ring = S.ring + max(t[PUSHED], entered and 1 or 0) end
    if t[NEWS] then write_news(S, t) end
    local is = struct_pack(STATE, spread(t, STATE_FROM, STATE_TO)) .. t[REST]
    if is ~= t[WAS] then states[#states + 1], states[#states + 2] = t[STATE_KEY], is end
    remember(S, t, is)
  end
  if #line > 0 then add_members(base .. ':vt', line) end
  if #states > 0 then call('MSET', spread(states)) end
  S.tenants, S.list = {}, {}
  for field, by in pairs(S.counts) do
    if by ~= 0 then call('HINCRBY', base .. ':ct', field, int(by)) end
  end
  S.counts = {}
  if S.shard_changed then
    call('SET', base .. ':s', struct_pack(SHARD, spread(S.shard, 1, SHARD_FIELDS)) .. S.shard_rest)
    S.shard_changed = false
  end
  if S.expected and S.ring == 0 then
    local look = next_looks(S)
    if look and S.now + look > S.expected then S.ring = 1 end
  end
  if S.ring > 0 then ring(base, S.ring, S.now) end
  S.ring, S.expected = 0, nil
  if #S.hints > 0 then
    call('PUBLISH', base .. ':ev', table.concat(S.hints))
    S.hints = {}
  end
end

-- A job, and the front of its record as it is; nil if there is none.
local function load_job(base, id)
  local key = base .. ':j' .. id
  local v = call('GETRANGE', key, '0', HEAD_LAST)
  if v == '' or byte(v, 2) == SENT_AHEAD then return nil end
  local tenant_at, tenant_length, idem_length, render_length = byte(v) + 1, byte(v, LENGTHS_AT, LENGTHS_LAST)
  local idem_at = tenant_at + tenant_length
  local render_at = idem_at + idem_length
  local last = render_at + render_length - 1
  if last > #v then v = call('GETRANGE', key, '0', STRINGS_LAST) end
  local idem, render = idem_length > 0 and sub(v, idem_at, render_at - 1), render_length > 0 and sub(v, render_at, last)
  local job = { key, sub(v, tenant_at, idem_at - 1), idem, render, struct_unpack(HEAD, v) }
  return job, v
end

-- Writes a job's head as it is; `save_job` as a new revision.
local function put_job(job) call('SETRANGE', job[KEY], '0', struct_pack(HEAD, spread(job, HEAD_FROM, HEAD_TO))) end

local function save_job(job)
  job[RV] = job[RV] + 1
  put_job(job)
end

-- Who waits for a job's render.
local function followers(base, id, job)
  return has(job, LEADS) and call('LRANGE', followers_key(base, id), 0, -1) or NOTHING
end

-- Wakes whoever watches a job, or one that waits for its render: `flush` sends all hints of a call at
-- once. A hint may be lost.
local function hint(S, id, flags)
  local hints = S.hints
  hints[#hints + 1] = id
  if flags % (2 * LEADS) >= LEADS then
    for _, follower in ipairs(call('LRANGE', followers_key(S.base, id), 0, -1)) do hints[#hints + 1] = follower end
  end
end

-- The event that an attempt began. It is written only when another one follows it: most jobs
-- end before, and then `events` tells it from the record.
local function start_event(job)
  return int(job[SA]) .. ' status {"status":"running","attempt":' .. int(job[AT]) .. ',"epoch":' .. int(job[EP])
    .. ',"worker":"' .. worker_name(job[WK]) .. '"}'
end

-- Appends to a job's events, `<ms> <kind> <data>` each, and tells who watches.
-- The caller saves the job. A list, not a stream: a stream takes 4 KiB at its first entry.
local function push_events(S, id, job, news)
  local base = S.base
  if has(job, HAS_START) then
    clear_flag(job, HAS_START)
    table.insert(news, 1, start_event(job))
  end
  set_flag(job, HAS_EVENTS)
  local kept = call('RPUSH', events_key(base, id), spread(news))
  if kept > EVENTS_MAX then
    call('LTRIM', events_key(base, id), -EVENTS_MAX, -1)
    job[ED] = job[ED] + kept - EVENTS_MAX
  end
  hint(S, id, job[FL])
end

-- Adds to a tenant's virtual tag: slot-milliseconds by weight.
local function charge(t, ms)
  t[TAG] = t[TAG] + virtual(t, ms)
  t[RECHECK] = true
end

-- Appends a job to a lane's stream; returns the number of its entry, `<number>-0`.
local function push(S, t, lane, id)
  local stream = t[STATE_KEY] .. LANE_KEYS[lane]
  local number = t[ENTERED + lane] + 1
  local reply = try_call('XADD', stream, format('%d-0', number), 'j', id)
  if type(reply) == 'table' and reply.err then
    -- Only if somebody took away the tenant's state and left its streams: go on behind what is there.
    local info = call('XINFO', 'STREAM', stream)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then number = tonumber(match(info[i + 1], '^%d+')) + 1 end
    end
    call('XADD', stream, int(number) .. '-0', 'j', id)
    t[LEFT + lane] = t[LEFT + lane] + number - 1 - t[ENTERED + lane]
    count(S, 'repairs', 1)
  end
  t[ENTERED + lane] = number
  t[PUSHED] = t[PUSHED] + 1
  return number
end

-- Marks a stream entry that was delivered as done with.
local function drop_entry(t, lane, number)
  local entry, entries = format('%d-0', number), t[ENDED + lane]
  if entries then
    entries[#entries + 1] = entry
  else
    t[ENDED], t[ENDED + lane] = true, { entry }
  end
end

-- Marks a stream entry that was not delivered for removal.
local function withdraw_entry(t, lane, number)
  local withdrawn = t[WITHDRAWN] or {}
  local entries = withdrawn[lane] or {}
  entries[#entries + 1] = format('%d-0', number)
  withdrawn[lane], t[WITHDRAWN] = entries, withdrawn
  t[LEFT + lane] = t[LEFT + lane] + 1
  t[RECHECK] = true
end

-- Takes a queued job out of where it waits: stream or `due`.
local function withdraw(S, t, id, job)
  if job[SQ] > 0 then
    withdraw_entry(t, job[SL], job[SQ])
  else
    call('ZREM', S.base .. ':due', id)
  end
end

-- What a job leaves when it ended: how long it is kept, and the keys that point to it. Returns the time as text.
local function keep(S, id, job, seconds)
  local base, text = S.base, S.texts[seconds]
  if not text then
    text = int(seconds)
    S.texts[seconds] = text
  end
  call('EXPIRE', job[KEY], text)
  if job[FL] % (2 * HAS_PROGRESS) > 0 then
    if has(job, HAS_EVENTS) then call('EXPIRE', events_key(base, id), text) end
    if has(job, HAS_ATTEMPTS) then call('EXPIRE', base .. ':a' .. id, text) end
    if has(job, HAS_PROGRESS) then call('DEL', base .. ':g' .. id) end
    clear_flag(job, HAS_PROGRESS)
  end
  if job[IK] then call('EXPIRE', base .. ':uq:' .. job[TN] .. ':' .. job[IK], min(seconds, IDEMPOTENCY_KEEP_S)) end
  return text
end

-- The end of one job: status and what is kept of it. `result` is stored beside it.
local function settle(S, t, id, job, status, result)
  local s = shard(S)
  local seconds = status == SUCCEEDED and s[KEEP_OK] or s[KEEP_OTHER]
  if job[DL] > 0 then
    call('ZREM', S.base .. ':dl', id)
    job[DL] = 0
  end
  local text = keep(S, id, job, seconds)
  if S.now - job[CA] > LONG_WAIT_MS then call('EXPIRE', list_key(S.base, job[TN], job[CA]), int(seconds), 'GT') end
  if result and result ~= '' then call('SETEX', result_key(S.base, id), text, result) end
  local ghost = job[FL] >= FOLLOWS and has(job, GHOST)
  job[ST], job[SQ], job[NB], job[LT] = status, 0, 0, NO_ID
  job[FI] = ghost and job[CX] or S.now
  save_job(job)
  hint(S, id, job[FL])
  -- The owner of a ghost knows since the cancel.
  if not ghost then tell(S, t, id, STATUS[status]) end
  t[LIVE] = t[LIVE] - 1
  count(S, STATUS[status], 1)
end

-- Points a render key at the job whose result answers for it, or away from it.
local function note_render(S, id, job, result_of)
  local key = render_key(S.base, job[TN], job[RK])
  if result_of then
    call('SET', key, result_of, 'EX', int(shard(S)[KEEP_OK]))
  elseif call('GET', key) == id then
    call('DEL', key)
  end
end

-- A job that failed for good by no fault of its author can be looked at and run again. Besides its tenant's list
-- there is one of all tenants, to be counted.
local function bury(S, t, id, class)
  local oldest, seconds = '(' .. int(S.now - shard(S)[KEEP_OTHER] * 1000), int(shard(S)[KEEP_OTHER])
  for _, dead in ipairs({ tenant_key(S.base, t[NAME]) .. ':dead', S.base .. ':dead' }) do
    call('ZADD', dead, S.stamp, id)
    call('ZREMRANGEBYSCORE', dead, '-inf', oldest)
    call('EXPIRE', dead, seconds)
  end
  count(S, 'dead_' .. class, 1)
end

-- How many events a job has had, the start that is not among them yet included.
local function events_so_far(S, id, job)
  return (has(job, HAS_EVENTS) and call('LLEN', events_key(S.base, id)) + job[ED] or 0) + (has(job, HAS_START) and 1 or 0)
end

-- Any non-terminal state -> a terminal one. The caller has taken the job out of stream, `lease` and
-- `due` as its state needed. `outcome` and `class` say how the last attempt ended, if one was
-- running; `told` is what a repeated call will be told (see `answered`); `dead` is the class of a failure that is nobody's fault
-- but ours: who is shown as failed by it becomes a dead letter.
-- Who waits for this job's render ends with it, in the same way.
local function conclude(S, t, id, job, status, result, outcome, class, told, dead)
  job[AO], job[AC] = outcome or 0, class or 0
  if told then job[FO], job[FR] = job[EP], told end
  local shares = job[FL] >= FOLLOWS
  local shown = shares and has(job, GHOST) and CANCELED or status
  local answers = shown == SUCCEEDED and id or nil
  if shares and has(job, LEADS) then
    local events = events_so_far(S, id, job)
    for _, follower in ipairs(followers(S.base, id, job)) do
      local other = load_job(S.base, follower)
      if other and other[ST] == QUEUED and has(other, FOLLOWS) then
        other[RV], other[GH] = other[RV] + job[RV], events
        other[SA], other[RD] = job[SA], job[RD]
        t[FOLLOWING] = t[FOLLOWING] - 1
        count(S, 'following', -1)
        settle(S, t, follower, other, status, result)
        if dead then bury(S, t, follower, dead) end
        if status == SUCCEEDED then answers = answers or follower end
      end
    end
    -- Who shows the files of this render: they stay until the last of them is erased.
    if status == SUCCEEDED and answers then
      if call('EXISTS', followers_key(S.base, id)) == 1 then
        call('RENAME', followers_key(S.base, id), sharers_key(S.base, id))
        call('EXPIRE', sharers_key(S.base, id), int(shard(S)[KEEP_OK]))
      end
    else
      call('DEL', followers_key(S.base, id))
    end
    clear_flag(job, LEADS)
  end
  if job[RK] then note_render(S, id, job, answers) end
  settle(S, t, id, job, shown, shown == status and result or nil)
  if dead and shown == status then bury(S, t, id, dead) end
end

-- Counts a job that a function ends of itself, so that no program is told of its end.
local function swept(S, t, job, status)
  count(S, 'swept_' .. (t[NAME] == '_canary' and 'canary' or int(job[LN])) .. '_' .. STATUS[status], 1)
end

-- Whether somebody wants this job stopped. A ghost's render is wanted while others wait for it.
local function stop_asked(job) return job[CX] > 0 and not (has(job, GHOST) and has(job, LEADS)) end

-- Milliseconds for which an attempt has held its slot.
local function time_used(S, job)
  local used = S.now - job[SA]
  return used < 0 and 0 or used > USED_MAX_MS and USED_MAX_MS or used
end

-- Ends the lease: the job leaves stream and `lease`. `charged` says whether the tenant pays for
-- the time, or gets back what it was charged. Returns the milliseconds used.
local function end_lease(S, t, id, job, charged)
  drop_entry(t, job[SL], job[SQ])
  S.ended[#S.ended + 1] = id
  -- A repair counts what is pending, and of this one the entry may be gone.
  t[RUNNING] = max(0, t[RUNNING] - 1)
  if S.busy then S.busy = S.busy - 1 end
  local used = time_used(S, job)
  charge(t, (charged and used or 0) - job[CH])
  if charged then meter(S, t, used) end
  return used
end

-- Puts a job whose attempt ended back to `queued`, in front of its tenant's others, or later.
local function requeue(S, t, id, job, delay_ms, reason, outcome, class, told, attempts)
  local base = S.base
  local note = table.concat({ int(job[AT]), int(job[EP]), worker_name(job[WK]), int(job[SA]), S.stamp, int(outcome), int(class) }, ' ')
  if call('RPUSH', base .. ':a' .. id, note) > ATTEMPTS_MAX then call('LTRIM', base .. ':a' .. id, -ATTEMPTS_MAX, -1) end
  set_flag(job, HAS_ATTEMPTS)
  clear_flag(job, RENEWED)
  if has(job, HAS_PROGRESS) then
    call('DEL', base .. ':g' .. id)
    clear_flag(job, HAS_PROGRESS)
  end
  push_events(S, id, job, { S.stamp .. ' status ' .. cjson.encode({ status = 'queued', reason = reason, retry_in_ms = delay_ms }) })
  if not has(job, GHOST) then tell(S, t, id, 'queued') end
  count(S, outcome == BY_LOSS and 'again_lost' or outcome == BY_RELEASE and 'again_released' or 'again_failed', 1)
  job[ST], job[SL], job[LT], job[AT] = QUEUED, RETURNED, NO_ID, attempts
  if told then job[FO], job[FR] = job[EP], told end
  if delay_ms > 0 then
    job[SQ], job[NB] = 0, S.now + delay_ms
    call('ZADD', base .. ':due', int(job[NB]), id)
    expect(S, job[NB])
  else
    job[SQ], job[NB] = push(S, t, RETURNED, id), 0
  end
  save_job(job)
end

-- The check of every call by a lease holder.
local function holds(job, epoch) return job and job[ST] == RUNS and job[EP] == epoch end

-- What the call that settled this epoch was told, so that its repetition is told the same.
local function answered(job, epoch) return job and job[FO] == epoch and ANSWERS[job[FR]] or nil end

-- Hints a worker to renew now. Its channel has no shard in its name: a worker listens to all of them.
local function tell_worker(base, job)
  call('PUBLISH', match(base, '^{.*:') .. 'ctl}:' .. worker_name(job[WK]), '')
end

-- Ends what still goes on for others only, when the last of them has left.
local function give_up(S, t, id, job)
  clear_flag(job, LEADS)
  call('DEL', followers_key(S.base, id))
  if job[ST] == QUEUED then
    withdraw(S, t, id, job)
    conclude(S, t, id, job, CANCELED)
  else
    save_job(job)
    tell_worker(S.base, job)
  end
end
