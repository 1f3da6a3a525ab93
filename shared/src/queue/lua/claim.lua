-- claim: queued -> running, for up to n jobs, fairest tenant first.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 its id as 16 bytes  3 n  4 lease ms  5 longest wait ms if nothing is found or due
--       6 slots that the worker offers to the elastic bound (0 if it drains)  7 its renderer, 8 bytes
--       8 worker's info (JSON), '' in all shards but its home  9.. one fresh random lease token of 16 bytes per job
-- Returns  {ms until something may become due (0: look again at once; -1: an operator drains this worker:
--           nothing is claimed, ask `renew` until that is over),
--           id, front of the record as it is now, record as it was (with its payload) or '', …}
-- Also promotes and reaps a few, and parks the worker in `idle` when there was nothing. A returned job whose own
-- lane is paused is not claimed: it goes back to that lane, behind those who wait there.
--
-- Fairness is start-time fair queueing over tenants (Goyal, Vin, Cheng 1996): the tenant with the
-- least virtual tag goes first, V follows the tag of the job in service, a claim is charged with the
-- tenant's usual job and put right at its end (see end_lease). All turns of a call are planned before anything
-- is read, so that the streams are read together; the order is that of jobs which are picked one by one.

-- Claims of so few jobs bring the records with them, which saves their worker a round trip. For more it
-- costs Redis less if the worker asks for them with MGET: a long text is dear in Lua.
local INLINE_MAX = 4

-- The lane to take from, and how many picks in a row will take from it, at most `most`.
local function pick_lane(S, t, most)
  local returned = t[ENTERED + RETURNED] - t[LEFT + RETURNED]
  if returned > 0 then return RETURNED, min(most, returned) end
  local some_paused, first, middle, last = shard(S)[STOPPED] > 0, nil, nil, nil
  for lane = 2, 4 do
    if t[ENTERED + lane] > t[LEFT + lane] and not (some_paused and lane_paused(S, lane)) then
      if last ~= first then middle = last end
      first, last = first or lane, lane
    end
  end
  if not first then return nil end
  if first == last then return first, min(most, t[ENTERED + first] - t[LEFT + first]) end
  local until_aged = AGEING - t[PICKS] % AGEING
  if until_aged == 1 then return middle and floor(t[PICKS] / AGEING) % 2 == 1 and middle or last, 1 end
  return first, min(most, t[ENTERED + first] - t[LEFT + first], until_aged - 1)
end

-- A claim is noted as a sign of life if the last one is at least this old: busy workers renew.
local SIGN_MS = 4000

-- What `wkn` says of a worker: slots that it offers, and when it last gave a sign of life.
local function known(S, worker)
  local slots, at = match(call('HGET', S.base .. ':wkn', worker) or '', '^(%d+) (%d+)$')
  return tonumber(slots), tonumber(at)
end

-- A worker's slots, as the elastic bound counts them; `old` are those that it offered so far. True if that is news.
local function offer(S, worker, old, slots)
  call('HSET', S.base .. ':wkn', worker, int(slots) .. ' ' .. S.stamp)
  if old == slots then return false end
  set_shard(S, SLOTS, shard(S)[SLOTS] + slots - (old or 0))
  return true
end

-- A worker is no longer counted.
local function forget_worker(S, worker)
  local slots = known(S, worker) or 0
  call('HDEL', S.base .. ':wkn', worker)
  call('ZREM', S.base .. ':wks', worker)
  set_shard(S, SLOTS, shard(S)[SLOTS] - slots)
  local away = tonumber(call('HGET', S.base .. ':wka', worker)) or 0
  if away > 0 then
    call('HDEL', S.base .. ':wka', worker)
    set_shard(S, AWAY, shard(S)[AWAY] - away)
  end
end

-- Whether an operator drains a worker.
local function is_drained(S, worker) return call('ZSCORE', S.base .. ':drain', worker) and true or false end

-- Forgets a few workers whose last sign of life is too old.
local function forget_gone(S)
  -- Nobody says that he will be silent for longer: whose sign of life is further ahead gave it before the clock was set back.
  local furthest = int(S.now + ELSEWHERE_MAX_MS)
  for _, worker in ipairs(call('ZRANGEBYSCORE', S.base .. ':wks', '(' .. furthest, '+inf', 'LIMIT', '0', int(FEW))) do
    call('ZADD', S.base .. ':wks', furthest, worker)
  end
  local silent_since = int(S.now - WORKER_TTL_MS)
  for _, gone in ipairs(call('ZRANGEBYSCORE', S.base .. ':wks', '-inf', silent_since, 'LIMIT', '0', int(FEW))) do forget_worker(S, gone) end
end

-- Notes a worker's sign of life, and for how many ms it may be silent now; `old` are the slots that it offered so far.
local function seen(S, worker, info, old, slots, renderer, silence)
  local base = S.base
  call('ZADD', base .. ':wks', int(S.now + silence), worker)
  if info ~= '' then call('SET', base .. ':wk:' .. worker, info, 'PX', int(silence + WORKER_TTL_MS)) end
  if offer(S, worker, old, slots) and renderer ~= NO_RENDERER then set_shard(S, RENDERER, renderer) end
end

-- Looks again at a few tenants that wait for a time, for slots or for a lane.
local function readmit(S)
  local base, s = S.base, shard(S)
  if s[ASIDE] == 0 then return end
  for _, name in ipairs(call('ZRANGEBYSCORE', base .. ':gate', '-inf', S.stamp, 'LIMIT', '0', '10')) do tenant(S, name)[RECHECK] = true end
  -- Who waits for a later day than tomorrow does so by a clock that was set back.
  for _, name in ipairs(call('ZRANGEBYSCORE', base .. ':gate', '(' .. int((S.day + 1) * DAY_MS), '+inf', 'LIMIT', '0', '10')) do tenant(S, name)[RECHECK] = true end
  for _, name in ipairs(call('ZRANGE', base .. ':over', '0', '49')) do tenant(S, name)[RECHECK] = true end
  if s[GENERATION] > 0 then
    for _, name in ipairs(call('ZRANGEBYSCORE', base .. ':held', '-inf', '(' .. int(s[GENERATION]), 'LIMIT', '0', '50')) do tenant(S, name)[RECHECK] = true end
  end
  flush(S)
end

-- Whether tenants are in `over`, `held` or `gate`.
local function some_aside(S)
  for place = OVER, GATE do
    if call('ZCARD', S.base .. PLACES[place]) > 0 then return true end
  end
  return false
end

-- Milliseconds until a lease runs out or a delayed job is due, at most `limit`.
local function next_due(S, limit)
  local hold = shard(S)[HOLD]
  for _, zset in ipairs({ ':lease', ':due', ':dl', ':gate' }) do
    local first = call('ZRANGE', S.base .. zset, '0', '0', 'WITHSCORES')
    if first[2] then
      local at = tonumber(first[2])
      if zset == ':lease' then at = max(at, hold) end
      limit = min(limit, max(1, at - S.now + 1))
    end
  end
  return limit
end

-- How long a worker waits that found nothing. If nothing can become due within `longest` ms: as long as that, or until
-- half of PARK_MS before something is. Else one parked worker looks when something is due, and passes the baton if there is more
-- than it takes; another one looks every SOON_MS, so that nothing is later by more than that if the first dies; all
-- others wait for the bell.
-- By the worker's id up to a quarter less than SOON_MS, and a sixteenth less than PARK_MS and `longest`, so that who was
-- woken together does not come back together.
local function park(S, raw, longest)
  local odd = byte(raw, 16)
  local horizon = min(longest, PARK_MS)
  horizon, longest = horizon - floor(horizon * odd / 4096), longest - floor(longest * odd / 4096)
  local due = next_due(S, longest)
  if due >= horizon and (all_paused(S) or shard(S)[ASIDE] == 0 or not some_aside(S)) then
    return due == longest and longest or max(horizon, due - floor(horizon / 2))
  end
  local soon = SOON_MS - floor(SOON_MS * odd / 1024)
  local first, second = next_looks(S)
  if not first or first > min(due, SOON_MS) then return min(due, soon) end
  return second and second <= SOON_MS and longest or soon
end

-- What nobody asked for but must happen is done by claims, at most once per this many milliseconds.
local SWEEP_MS = 20

-- Puts jobs and tenants whose time has come where a claim finds them, and forgets who is gone.
local function sweep(S)
  forget_gone(S)
  promote(S, FEW)
  reap(S, FEW)
  flush(S)
  set_shard(S, SWEPT, S.now)
  if shard(S)[ASIDE] == 1 and not some_aside(S) then set_shard(S, ASIDE, 0) end
end

-- Tenants in the order of their tags: what `vt` said when it was read, and what this call has put back since.
local function before(tag, name, other_tag, other) return tag < other_tag or (tag == other_tag and name < other) end

local function read_line(S, n)
  local reply = call('ZRANGE', S.base .. ':vt', '0', int(n), 'WITHSCORES')
  return { read = reply, at = 1, tag = tonumber(reply[2]), complete = #reply <= 2 * n, back = {}, tags = {}, first = 1 }
end

-- The first in line: name, tag, whether it was put back. nil if there is none.
local function first_of(line)
  local name, tag, i = line.read[line.at], line.tag, line.first
  local other, other_tag = line.back[i], line.tags[i]
  if other and (not name or before(other_tag, other, tag, name)) then return other, other_tag, true end
  return name, tag, false
end

local function step_off(line, was_back)
  if was_back then
    line.first = line.first + 1
  else
    local at = line.at + 2
    line.at, line.tag = at, tonumber(line.read[at + 1])
  end
end

-- Mostly at the end: tags grow as jobs are taken.
local function put_back(line, name, tag)
  local back, tags, i = line.back, line.tags, #line.back + 1
  while i > line.first and before(tag, name, tags[i - 1], back[i - 1]) do
    back[i], tags[i] = back[i - 1], tags[i - 1]
    i = i - 1
  end
  back[i], tags[i] = name, tag
end

-- How many jobs in a row the tenant that is first in line with this tag gets, at most `most`.
local function in_a_row(S, t, line, tag, step, most)
  local limit_of_own = t[RUNNING_MAX]
  if limit_of_own >= 0 then most = min(most, limit_of_own - t[RUNNING]) end
  if most > 1 then most = min(most, elastic_room(S, t)) end
  local row, rival, rival_tag = 1, first_of(line)
  tag = tag + step
  while row < most and (not rival or before(tag, t[NAME], rival_tag, rival)) do
    row = row + 1
    tag = tag + step
  end
  return row
end

-- A turn is some jobs of one lane of a tenant: whose, which lane, how many, the tag of the first, the tenant's usual
-- job in ms and in units of the tag; the turn that reads for this one, if that is another one; for how many it reads, and
-- what of that is next; what it read, and its stream; a turn that reads another lane of the tenant.
local OF, LANE, LOT, AT_TAG, LENGTH, STEP, READER, WANTED, NEXT, ENTRIES, STREAM, OTHER = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

-- Decides whose turn it is until `n` jobs are found, and counts them as if they ran; `start_all` takes back what does
-- not. What the turns of a lane take together is read at once, for the first of them.
-- Returns the turns, and how many tenants were looked at.
local function plan(S, line, n, turns_max, visits_max)
  local turns, found, visits = {}, 0, 0
  while found < n and #turns < turns_max and visits < visits_max do
    local name, tag, was_back = first_of(line)
    if not name then break end
    visits = visits + 1
    step_off(line, was_back)
    local t = tenant(S, name)
    local where, score = belongs(S, t)
    -- That it is active may be what puts it at the elastic bound.
    if where == VT and score == tag and note_active(S, t) then where, score = belongs(S, t) end
    if where == VT and score == tag then
      local length = usual(S, t)
      local step = virtual(t, length)
      local lane, lot = pick_lane(S, t, in_a_row(S, t, line, tag, step, n - found))
      local reader = t[READING]
      while reader and reader[LANE] ~= lane do reader = reader[OTHER] end
      local turn = { t, lane, lot, tag, length, step, reader, lot, 1, false, false, t[READING] }
      if reader then
        reader[WANTED] = reader[WANTED] + lot
      else
        t[READING] = turn
      end
      turns[#turns + 1] = turn
      found = found + lot
      t[TAG], t[PICKS], t[LEFT + lane], t[RUNNING] = tag + lot * step, t[PICKS] + lot, t[LEFT + lane] + lot, t[RUNNING] + lot
      S.starting = S.starting + lot
      if S.busy then S.busy = S.busy + lot end
      where, score = belongs(S, t)
    end
    t[RECHECK] = true
    if where == VT then put_back(line, name, score) end
  end
  return turns, visits
end

-- Reads the oldest entries of the lanes that turns take from: one call for all of which equally many are wanted.
local function read_entries(S, turns)
  local groups = {}
  for i = 1, #turns do
    local turn = turns[i]
    if not turn[READER] then
      local t, lane, wanted = turn[OF], turn[LANE], turn[WANTED]
      t[READING] = false
      local stream = t[STATE_KEY] .. LANE_KEYS[lane]
      turn[STREAM] = stream
      if t[SERVED + lane] == 0 then try_call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM') end
      local group = groups[wanted] or {}
      group[#group + 1], groups[wanted] = turn, group
    end
  end
  for wanted, group in pairs(groups) do
    local streams, n, at = {}, #group, 1
    for i = 1, n do streams[i], streams[n + i] = group[i][STREAM], '>' end
    local reply = try_call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', int(wanted), 'STREAMS', spread(streams))
    if reply and reply.err then
      for i = 1, n do try_call('XGROUP', 'CREATE', streams[i], GROUP, '0', 'MKSTREAM') end
      reply = call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', int(wanted), 'STREAMS', spread(streams))
    end
    -- Streams without entries are left out of the reply.
    for i = 1, n do
      local found = reply and reply[at]
      if found and found[1] == streams[i] then
        group[i][ENTRIES], at = found[2], at + 1
      else
        group[i][ENTRIES] = NOTHING
      end
    end
  end
end

-- queued -> running for an entry that was just read. Returns whether it has a job that could start.
local function start(S, turn, entry, claimant, reply)
  local base, t, lane = S.base, turn[OF], turn[LANE]
  local number, fields = tonumber(match(entry[1], '^%d+')), entry[2]
  local id = fields and fields[2]
  local key = id and base .. ':j' .. id
  local record = id and call('GETRANGE', key, '0', claimant.last) or ''
  local length, status, asked_lane, own_lane, flags, own_number, created, not_before, deadline, epoch, attempts, revision
  if record ~= '' then
    length, status, asked_lane, own_lane, flags, own_number, created, not_before, deadline, epoch, attempts, revision = struct_unpack(HEAD_FRONT, record)
  end
  t[SERVED + lane] = number
  if status ~= QUEUED or own_number ~= number or own_lane ~= lane then
    -- It never entered the lane's count, so it does not leave it either.
    t[LEFT + lane] = t[LEFT + lane] - 1
    drop_entry(t, lane, number)
    count(S, 'repairs', 1)
    if record == '' then
      -- Somebody took the record away: nobody can be told, but it does not count for its tenant any more.
      t[LIVE] = max(0, t[LIVE] - 1)
      count(S, 'failed', 1)
    end
    return false
  end
  if lane == RETURNED and lane_paused(S, asked_lane + 2) then
    local job = load_job(base, id)
    drop_entry(t, lane, number)
    job[SL] = asked_lane + 2
    job[SQ] = push(S, t, job[SL], id)
    put_job(job)
    return false
  end
  if deadline > 0 then
    if deadline <= S.now then
      local job = load_job(base, id)
      drop_entry(t, lane, number)
      if not has(job, GHOST) then swept(S, t, job, EXPIRED) end
      conclude(S, t, id, job, EXPIRED)
      return false
    end
    call('ZREM', base .. ':dl', id)
  end
  if flags % (2 * HAS_START) < HAS_START then flags = flags + HAS_START end
  local now = struct_pack(HEAD_CLAIM, length, RUNS, asked_lane, own_lane, flags, own_number, created, not_before, 0, epoch + 1, attempts + 1, revision + 1,
    S.now, turn[LENGTH], 0, 0, claimant.raw, claimant.tokens[8 + claimant.claims + 1], claimant.renderer)
  call('SETRANGE', key, '0', now)
  local leased, o = S.leased, claimant.claims * 3 + 1
  leased[#leased + 1], leased[#leased + 2] = claimant.until_text, id
  S.starting = S.starting - 1
  claimant.claims = claimant.claims + 1
  reply[o + 1], reply[o + 2], reply[o + 3] = id, now, claimant.last == '-1' and record or ''
  hint(S, id, flags)
  if flags % (2 * GHOST) < GHOST then tell(S, t, id, 'running') end
  return true
end

-- Starts what was read, turn by turn. Returns how many could not.
local function start_all(S, turns, claimant, reply)
  local failed = 0
  for i = 1, #turns do
    local turn = turns[i]
    local t, reader, started = turn[OF], turn[READER] or turn, 0
    for _ = 1, turn[LOT] do
      local entry = reader[ENTRIES][reader[NEXT]]
      reader[NEXT] = reader[NEXT] + 1
      if entry and start(S, turn, entry, claimant, reply) then
        started = started + 1
      else
        -- It was counted as running.
        failed, S.starting = failed + 1, S.starting - 1
        if S.busy then S.busy = S.busy - 1 end
        t[TAG], t[RUNNING] = t[TAG] - turn[STEP], t[RUNNING] - 1
        if not entry then
          -- The count said there is work and the stream has none: put the count right.
          t[LEFT + turn[LANE]] = t[ENTERED + turn[LANE]]
          count(S, 'repairs', 1)
        end
      end
    end
    local tag = turn[AT_TAG] + (started - 1) * turn[STEP]
    if started > 0 and tag > shard(S)[VIRTUAL] then set_shard(S, VIRTUAL, tag) end
  end
  return failed
end

-- Takes jobs, fairest tenant first, until the claimant has n. Returns whether more could be taken.
local function take(S, n, claimant, reply)
  if all_paused(S) then return false end
  -- Behind one that does not start its tenant's next one goes, not what was planned without it: then turn by turn.
  local line, budget = read_line(S, n), BUDGET
  local some_fail = n > 1 and line.tag and (shard(S)[STOPPED] > 0 or call('ZCOUNT', S.base .. ':dl', '-inf', S.stamp) > 0)
  local turns_max = some_fail and 1 or BUDGET
  while claimant.claims < n and budget > 0 do
    local turns, visits = plan(S, line, n - claimant.claims, turns_max, budget)
    if #turns == 0 and line.complete then break end
    read_entries(S, turns)
    local failed = start_all(S, turns, claimant, reply)
    budget = budget - max(visits, failed)
    if failed > 0 or #turns == 0 then
      -- Tags and places are not as planned, or all that were read are at a limit now.
      flush(S)
      line = read_line(S, n)
    end
  end
  return first_of(line) ~= nil or (not line.complete and call('ZCARD', S.base .. ':vt') > 0)
end

transition('claim', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, now = S.base, S.now
  local worker, n, lease_ms, wait_ms = args[1], min(tonumber(args[3]), BUDGET), tonumber(args[4]), tonumber(args[5])
  hear(S, lease_ms)
  local slots, sign = known(S, worker)
  local signs = slots ~= tonumber(args[6]) or slots == 0 or now - sign >= SIGN_MS or now < sign
  if signs then
    if is_drained(S, worker) then
      seen(S, worker, args[8], slots, 0, args[7], 0)
      forget_gone(S)
      call('ZREM', base .. ':idle', worker)
      -- It may have come because of a token on which it must not act, or be the one that looks at what becomes due:
      -- pass the baton.
      S.ring = 1
      flush(S)
      return { -1 }
    end
    seen(S, worker, args[8], slots, tonumber(args[6]), args[7], wait_ms)
  end
  local swept = math.abs(now - shard(S)[SWEPT]) >= SWEEP_MS
  if swept then sweep(S) end
  readmit(S)
  local claimant = { raw = args[2], renderer = args[7], tokens = args, until_text = int(now + lease_ms),
    last = n <= INLINE_MAX and '-1' or FRONT_LAST, claims = 0 }
  local reply, more = { 0 }, false
  if n > 0 then more = take(S, n, claimant, reply) end
  if claimant.claims < n and not swept then
    flush(S)
    sweep(S)
    readmit(S)
    more = take(S, n, claimant, reply)
  end
  local claims = claimant.claims
  if n > 0 then call('ZREM', base .. ':idle', worker) end
  if claims > 0 or (more and n > 0) then
    -- The baton: whoever found work wakes the next one while there is more, or while no other one looks in time at what
    -- becomes due; its lease is of that. Who has slots left will look itself, and may die.
    if more then
      if claims > 0 then S.ring = S.ring + 1 end
    else
      local look = next_looks(S)
      if look and (look > SOON_MS or claims == n and next_due(S, look) < look) then S.ring = S.ring + 1 end
    end
    -- It renews from now on.
    if signs and claims > 0 then seen(S, worker, args[8], tonumber(args[6]), tonumber(args[6]), args[7], 0) end
    wait_ms = 0
  else
    if n == 0 and not swept then sweep(S) end
    -- `park` asks where tenants are.
    flush(S)
    local longest = wait_ms
    wait_ms = park(S, args[2], longest)
    if wait_ms > SOON_MS and not signs then seen(S, worker, args[8], slots, slots, args[7], longest) end
    if n > 0 then call('ZADD', base .. ':idle', int(now + wait_ms), worker) end
  end
  flush(S)
  reply[1] = wait_ms
  return reply
end)
