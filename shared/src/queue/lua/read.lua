-- read: one consistent picture of a job. Changes nothing.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 '1' with the payload, '' without  3 '1' with what its tenant uses, '' without
-- Returns  {record (with its payload if asked for), {earlier attempts}, result,
--          place in its lane or 0, ms until a start may be expected or -1, ttl ms, progress,
--          head of the record that it waits for, or '', what its tenant uses (see `usage`) or {},
--          what keeps a queued job from starting because it is paused: 'all', 'tenant', a lane's name or ''} | nil
-- The place counts jobs of the same tenant and lane: exactly for the first PLACE_EXACT, else as an upper
-- bound, which is too high by the number of jobs before this one that were cancelled.

local PLACE_EXACT = 64

local LANE_NAMES = { [2] = 'interactive', [3] = 'normal', [4] = 'batch' }

-- What an operator has paused that a tenant's jobs of a lane wait for.
local function paused(S, t, lane)
  if all_paused(S) then return 'all' end
  if t[PAUSED] == 1 then return 'tenant' end
  return lane_paused(S, lane) and LANE_NAMES[lane] or ''
end

-- What a tenant uses of its quotas: {now ms, not ended, running, arrival times of the two submit rates (ms),
-- render ms of today, what is paused ('all', 'tenant' or ''), then the quotas in the order of `quotas`, '' where the
-- default holds}.
local function usage_of(S, t)
  local reply = { S.stamp, int(t[LIVE]), int(t[RUNNING]), format('%.0f', t[TAT_MINUTE]), format('%.0f', t[TAT_DAY]), int(metered(S, t)), paused(S, t, RETURNED) }
  for quota = QUEUED_MAX, CODE_MAX do
    local unset = t[quota] < 0 or (quota == WEIGHT and t[quota] == 0)
    reply[#reply + 1] = unset and '' or format('%.17g', t[quota])
  end
  return reply
end

local function place_in_lane(base, t, job)
  local lane, served = job[SL], t[SERVED + job[SL]]
  local ahead = job[SQ] - served
  if ahead > PLACE_EXACT then return ahead end
  return #call('XRANGE', stream_key(base, t[NAME], lane), '(' .. int(served) .. '-0', int(job[SQ]) .. '-0', 'COUNT', PLACE_EXACT)
end

-- Milliseconds until `n` of the running jobs may be expected to have ended, by what each was charged: its
-- tenant's usual job when it was claimed. Who outran that may take a quarter more. Looks at LEASES_LOOKED_AT
-- of them at most.
local LEASES_LOOKED_AT = 32

local function until_ended(S, n)
  local running = call('ZCARD', S.base .. ':lease')
  local left = {}
  for _, id in ipairs(call('ZRANGE', S.base .. ':lease', '0', int(LEASES_LOOKED_AT - 1))) do
    local job = load_job(S.base, id)
    if job and job[ST] == RUNS then
      local elapsed = S.now - job[SA]
      left[#left + 1] = max(job[CH] - elapsed, max(job[CH], elapsed) / 4)
    end
  end
  if #left == 0 then return 0 end
  table.sort(left)
  return left[max(1, min(#left, ceil(n * #left / running)))]
end

-- Milliseconds until the job may be expected to start, rough: what is before it in its tenant's queue,
-- by the tenant's usual job, over the slots that the tenant may expect; but not before slots that it needs
-- to have these become free. -1 if nothing can be said.
local function expected(S, t, job, position)
  local s = shard(S)
  if s[SLOTS] == 0 then return -1 end
  local starts = position
  for lane = 1, job[SL] - 1 do starts = starts + waiting(t, lane) end
  local free = max(0, s[SLOTS] - call('ZCARD', S.base .. ':lease') - s[AWAY])
  local rivals = max(1, call('ZCARD', S.base .. ':vt') + call('ZCARD', S.base .. ':over'))
  local share = min(limit(t, RUNNING_MAX, DEFAULT_RUNNING_MAX), s[SLOTS] / rivals)
  if share <= 0 then return -1 end
  -- How many more it may start before it holds its share.
  local room = max(1, floor(share)) - t[RUNNING]
  if starts <= min(free, room) then return 0 end
  -- Who holds less than its share comes first, in turn with others of that kind.
  local lacking = min(starts, room) * max(1, rivals / s[SLOTS]) - free
  local wait = lacking > 0 and until_ended(S, lacking) or 0
  if starts > room then wait = max(wait, starts / share * usual(S, t)) end
  return ceil(wait)
end

transition('read', { 'no-writes' }, function(keys, args)
  local base, id = keys[1], args[1]
  local record = args[2] == '1' and call('GET', base .. ':j' .. id) or call('GETRANGE', base .. ':j' .. id, '0', STRINGS_LAST)
  if not record or record == '' then return nil end
  local job = load_job(base, id)
  if not job then return nil end
  local of, of_id, front = job, id, ''
  if has(job, FOLLOWS) and job[ST] == QUEUED then
    of_id = short_id(job[WK])
    of, front = load_job(base, of_id)
    of = of or job
  end
  local position, wait, usage, held, queued = 0, -1, {}, '', of[ST] == QUEUED
  local S = (queued or args[3] == '1') and open(base)
  if args[3] == '1' then usage = usage_of(S, tenant(S, job[TN])) end
  if queued then
    local t = tenant(S, of[TN])
    held = paused(S, t, of[LN] + 2)
    if of[SQ] > 0 then
      position = max(1, place_in_lane(base, t, of))
      if held == '' then wait = expected(S, t, of, position) end
    end
  end
  return { record, call('LRANGE', base .. ':a' .. id, 0, -1), call('GET', base .. ':r' .. id),
    position, wait, call('PTTL', job_key(base, id)), call('GET', base .. ':g' .. of_id), front or '', usage, held }
end)

-- usage: what a tenant uses of its quotas. Changes nothing.
-- KEYS  1 base of the shard
-- ARGV  1 tenant
-- Returns  see `usage_of`

transition('usage', { 'no-writes' }, function(keys, args)
  local S = open(keys[1])
  return usage_of(S, tenant(S, args[1]))
end)

-- events: what happened to a job, in order. Changes nothing.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 number of the last event that the caller has seen (0 = none)  3 most events
-- Returns  {number of the first event returned, '<ms> <kind> <data>', …}
-- Events are numbered from 1; of more than EVENTS_MAX the oldest are gone. The start of an attempt and the
-- end of the job are told from the record while nothing follows them. Who waits, or has waited, for
-- another's render is told of that one's events, up to its own end. When these are gone, its end has the number that it had.

transition('events', { 'no-writes' }, function(keys, args)
  local base, id, seen_before, most = keys[1], args[1], tonumber(args[2]), tonumber(args[3])
  local job = load_job(base, id)
  if not job then return { seen_before + 1 } end
  local source, source_id, follows = job, id, has(job, FOLLOWS) and not has(job, CACHED)
  if follows then
    source_id = short_id(job[WK])
    source = load_job(base, source_id) or job
  end
  local gone, kept = source[ED], 0
  if follows and source == job and job[ST] > RUNS then gone = job[GH] end
  if has(source, HAS_EVENTS) then kept = call('LLEN', events_key(base, source_id)) end
  -- Whose cancel did not end the render sees what was before it: the owner of a ghost, or who left.
  local left = has(job, GHOST) or (follows and job[CX] > 0)
  if left then kept = max(0, min(kept, job[GH] - gone)) end
  local first = max(gone, seen_before)
  local reply = { first + 1 }
  if kept > 0 and first < gone + kept then
    reply = call('LRANGE', events_key(base, source_id), int(first - gone), int(min(kept, first - gone + most) - 1))
    table.insert(reply, 1, first + 1)
  end
  local number = gone + kept
  local function tell(text)
    number = number + 1
    if number > seen_before and #reply <= most and reply[1] + #reply - 1 == number then reply[#reply + 1] = text end
  end
  if has(source, HAS_START) and not (left and number >= job[GH]) then tell(start_event(source)) end
  local status = has(job, GHOST) and CANCELED or job[ST]
  if status > RUNS then
    tell(int(has(job, GHOST) and job[CX] or job[FI]) .. ' done {"status":"' .. STATUS[status] .. '"}')
  end
  return reply
end)
