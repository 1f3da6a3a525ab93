-- claim: queued -> running, for up to n jobs, fairest tenant first.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 its id as 16 bytes  3 n  4 lease ms  5 longest wait ms if nothing is found
--       6 slots that the worker offers to the elastic bound (0 if it drains)  7 its renderer, 8 bytes
--       8 worker's info (JSON)  9.. one fresh random lease token of 16 bytes per job
-- Returns  {ms until something may become due (0: look again at once; -1: an operator drains this worker:
--           nothing is claimed, ask `renew` until that is over),
--           id, front of the record as it is now, record as it was (with its payload) or '', …}
-- Also promotes and reaps a few, and parks the worker in `idle` when there was nothing.
--
-- Fairness is start-time fair queueing over tenants (Goyal, Vin, Cheng 1996): the tenant with the
-- least virtual tag goes first, V follows the tag of the job in service, a claim is charged with the
-- tenant's usual job and put right at its end (see end_lease). Several jobs are read at once from a
-- tenant only as long as it would have been picked again and again one by one.

-- Claims of so few jobs bring the records with them, which saves their worker a round trip. For more it
-- costs Redis less if the worker asks for them with MGET: a long text is dear in Lua.
local INLINE_MAX = 4

-- The lane to take from, and how many picks in a row will take from it, at most `most`.
local function pick_lane(S, t, most)
  local a = t.a
  local returned = waiting(t, RETURNED)
  if returned > 0 then return RETURNED, min(most, returned) end
  local first, last
  for lane = 2, 4 do
    if waiting(t, lane) > 0 and not lane_paused(S, lane) then
      first = first or lane
      last = lane
    end
  end
  if not first then return nil end
  if first == last then return first, min(most, waiting(t, first)) end
  local until_aged = AGEING - a[PICKS] % AGEING
  if until_aged == 1 then return last, 1 end
  return first, min(most, waiting(t, first), until_aged - 1)
end

-- The oldest entries of a stream, at most n.
local function read_entries(stream, n)
  local count = int(n)
  local reply = try_call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', count, 'STREAMS', stream, '>')
  if reply and reply.err then
    call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    reply = call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', count, 'STREAMS', stream, '>')
  end
  return reply and reply[1][2] or {}
end

-- A claim is noted as a sign of life if the last one is at least this old: busy workers renew.
local SIGN_MS = 4000

-- What `wkn` says of a worker: slots that it offers, and when it last gave a sign of life.
local function known(S, worker)
  local slots, at = match(call('HGET', S.base .. ':wkn', worker) or '', '^(%d+) (%d+)$')
  return tonumber(slots), tonumber(at)
end

-- A worker's slots, as the elastic bound counts them. True if that is news.
local function offer(S, worker, slots)
  local old = known(S, worker)
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
  local silent_since = int(S.now - WORKER_TTL_MS)
  for _, gone in ipairs(call('ZRANGEBYSCORE', S.base .. ':wks', '-inf', silent_since, 'LIMIT', '0', '10')) do forget_worker(S, gone) end
end

-- Notes a worker's sign of life.
local function seen(S, worker, info, slots, renderer)
  local base = S.base
  call('ZADD', base .. ':wks', S.stamp, worker)
  call('SET', base .. ':wk:' .. worker, info, 'PX', int(WORKER_TTL_MS))
  if offer(S, worker, slots) and renderer ~= NO_RENDERER then set_shard(S, RENDERER, renderer) end
end

-- Looks again at a few tenants that wait for a time, for slots or for a lane.
local function readmit(S)
  local base, s = S.base, shard(S)
  if s[ASIDE] == 0 then return end
  for _, name in ipairs(call('ZRANGEBYSCORE', base .. ':gate', '-inf', S.stamp, 'LIMIT', '0', '10')) do tenant(S, name).recheck = true end
  for _, name in ipairs(call('ZRANGE', base .. ':over', '0', '49')) do tenant(S, name).recheck = true end
  if s[GENERATION] > 0 then
    for _, name in ipairs(call('ZRANGEBYSCORE', base .. ':held', '-inf', '(' .. int(s[GENERATION]), 'LIMIT', '0', '50')) do tenant(S, name).recheck = true end
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

-- queued -> running for one job that was just read from its stream. Returns the head of its record.
local function start(S, t, id, job, claimant)
  job[ST], job[EP], job[AT], job[WK], job[LT] = RUNS, job[EP] + 1, job[AT] + 1, claimant.raw, claimant.token
  job[SA], job[CH], job[RD], job[RV] = S.now, usual(S, t), claimant.renderer, job[RV] + 1
  job[AO], job[AC] = 0, 0
  set_flag(job, HAS_START)
  if job[DL] > 0 then
    call('ZREM', S.base .. ':dl', id)
    job[DL] = 0
  end
  local now = struct_pack(HEAD_CLAIM, spread(job, HEAD_FROM, CLAIM_TO))
  call('SETRANGE', job[KEY], '0', now)
  t.a[RUNNING] = t.a[RUNNING] + 1
  if S.busy then S.busy = S.busy + 1 end
  local leased = S.leased
  leased[#leased + 1] = claimant.until_text
  leased[#leased + 1] = id
  if t.a[TAG] > shard(S)[VIRTUAL] then set_shard(S, VIRTUAL, t.a[TAG]) end
  charge(t, job[CH])
  hint(S, id, job)
  if not has(job, GHOST) then tell(S, t, id, 'running') end
  return now
end

-- What nobody asked for but must happen is done by claims, at most once per this many milliseconds.
local SWEEP_MS = 20

-- Puts jobs and tenants whose time has come where a claim finds them, and forgets who is gone.
local function sweep(S)
  forget_gone(S)
  promote(S, 10)
  reap(S, 10)
  flush(S)
  set_shard(S, SWEPT, S.now)
  if shard(S)[ASIDE] == 1 and not some_aside(S) then set_shard(S, ASIDE, 0) end
end

-- Tenants in the order of their tags: what `vt` said when it was read, and what this call has put back since.
local function before(tag, name, other_tag, other) return tag < other_tag or (tag == other_tag and name < other) end

local function read_line(S, n)
  local reply = call('ZRANGE', S.base .. ':vt', '0', int(n), 'WITHSCORES')
  return { read = reply, at = 1, complete = #reply <= 2 * n, back = {}, tags = {}, first = 1 }
end

-- The first in line: name, tag, whether it was put back. nil if there is none.
local function first_of(line)
  local name, tag = line.read[line.at], tonumber(line.read[line.at + 1])
  local other, other_tag = line.back[line.first], line.tags[line.first]
  if other and (not name or before(other_tag, other, tag, name)) then return other, other_tag, true end
  return name, tag, false
end

local function step_off(line, was_back)
  if was_back then line.first = line.first + 1 else line.at = line.at + 2 end
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

-- Starts what was read from a lane, at most all of it; returns how many.
local function start_all(S, t, lane, entries, claimant, claims, reply)
  local base, name, a = S.base, t.name, t.a
  for i = 1, #entries do
    local entry = entries[i]
    local number, fields = tonumber(match(entry[1], '^%d+')), entry[2]
    local id = fields and fields[2]
    local key = id and base .. ':j' .. id
    local record = id and call('GETRANGE', key, '0', claimant.last) or ''
    local job = record ~= '' and { key, name, false, false, struct_unpack(HEAD_CLAIM, record) }
    a[SERVED + lane] = number
    if not job or job[ST] ~= QUEUED or job[SQ] ~= number or job[SL] ~= lane then
      -- It never entered the lane's count, so it does not leave it either.
      drop_entry(t, lane, number)
      count(S, 'repairs', 1)
    else
      a[LEFT + lane] = a[LEFT + lane] + 1
      if job[DL] > 0 and job[DL] <= S.now then
        drop_entry(t, lane, number)
        if not has(job, GHOST) then swept(S, t, job, EXPIRED) end
        conclude(S, t, id, load_job(base, id), EXPIRED)
      else
        claimant.token = claimant.tokens[8 + claims + 1]
        local o = claims * 3 + 1
        reply[o + 1], reply[o + 2], reply[o + 3] = id, start(S, t, id, job, claimant), claimant.last == '-1' and record or ''
        claims = claims + 1
      end
    end
  end
  return claims
end

-- Takes up to n jobs, fairest tenant first. Returns how many, and whether more could be taken.
local function take(S, n, claimant, claims, reply)
  local line, budget = read_line(S, n), BUDGET
  while claims < n and budget > 0 and not all_paused(S) do
    local name, tag, was_back = first_of(line)
    if not name then
      if line.complete then break end
      -- All that were read turned out to be at a limit; they are out of `vt` now.
      line = read_line(S, n)
      name, tag, was_back = first_of(line)
      if not name then break end
    end
    budget = budget - 1
    step_off(line, was_back)
    local t = tenant(S, name)
    local where, score = belongs(S, t)
    -- That it is active may be what puts it at the elastic bound.
    if where == VT and score == tag and note_active(S, t) then where, score = belongs(S, t) end
    if where == VT and score == tag then
      -- How often in a row this tenant has the least tag.
      local rival, rival_tag = first_of(line)
      local step, most = virtual(t, usual(S, t)), 1
      local room = min(n - claims, limit(t, RUNNING_MAX, DEFAULT_RUNNING_MAX) - t.a[RUNNING])
      if room > 1 then room = min(room, elastic_room(S, t)) end
      local at = tag + step
      while most < room and (not rival or before(at, name, rival_tag, rival)) do
        most = most + 1
        at = at + step
      end
      local lane, lot = pick_lane(S, t, most)
      t.a[TAG] = tag
      local entries = read_entries(stream_key(S.base, name, lane), lot)
      if #entries == 0 then
        -- The count said there is work and the stream has none: put the count right.
        t.a[LEFT + lane] = t.a[ENTERED + lane]
        count(S, 'repairs', 1)
      end
      t.a[PICKS] = t.a[PICKS] + #entries
      local started = claims
      claims = start_all(S, t, lane, entries, claimant, claims, reply)
      -- What had expired and what was stray costs as much as what starts.
      budget = budget - max(0, #entries - max(1, claims - started))
      where, score = belongs(S, t)
    end
    t.recheck = true
    if where == VT then
      put_back(line, name, score)
    else
      place(S, t)
    end
  end
  local more = first_of(line) ~= nil or (not line.complete and call('ZCARD', S.base .. ':vt') > 0)
  return claims, more and not all_paused(S)
end

transition('claim', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, now = S.base, S.now
  local worker, n, lease_ms, wait_ms = args[1], min(tonumber(args[3]), BUDGET), tonumber(args[4]), tonumber(args[5])
  hear(S, lease_ms)
  local slots, sign = known(S, worker)
  if slots ~= tonumber(args[6]) or slots == 0 or now - sign >= SIGN_MS or now < sign then
    if is_drained(S, worker) then
      forget_gone(S)
      seen(S, worker, args[8], 0, args[7])
      call('ZREM', base .. ':idle', worker)
      -- It may have come because of a token on which it must not act: pass the baton.
      if call('ZCARD', base .. ':vt') > 0 then S.ring = 1 end
      flush(S)
      return { -1 }
    end
    seen(S, worker, args[8], tonumber(args[6]), args[7])
  end
  local swept = math.abs(now - shard(S)[SWEPT]) >= SWEEP_MS
  if swept then sweep(S) end
  readmit(S)
  local claimant = { raw = args[2], renderer = args[7], tokens = args, until_text = int(now + lease_ms),
    last = n <= INLINE_MAX and '-1' or CLAIM_LAST }
  local reply, claims, more = { 0 }, 0, false
  if n > 0 then claims, more = take(S, n, claimant, 0, reply) end
  if claims < n and not swept then
    flush(S)
    sweep(S)
    readmit(S)
    claims, more = take(S, n, claimant, claims, reply)
  end
  -- The baton: whoever found work wakes the next one while there is more.
  if more and claims > 0 then S.ring = S.ring + 1 end
  if claims > 0 or (more and n > 0) then
    call('ZREM', base .. ':idle', worker)
    wait_ms = 0
  else
    if n == 0 and not swept then sweep(S) end
    wait_ms = next_due(S, wait_ms)
    if n > 0 then call('ZADD', base .. ':idle', int(now + wait_ms), worker) end
  end
  flush(S)
  reply[1] = wait_ms
  return reply
end)
