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
  local a, s = t.a, shard(S)
  local returned = waiting(t, RETURNED)
  if returned > 0 then return RETURNED, math.min(most, returned) end
  local first, last
  for lane = 2, 4 do
    if not s.lane_paused[lane] and waiting(t, lane) > 0 then
      first = first or lane
      last = lane
    end
  end
  if not first then return nil end
  if first == last then return first, math.min(most, waiting(t, first)) end
  local until_aged = AGEING - a[PICKS] % AGEING
  if until_aged == 1 then return last, 1 end
  return first, math.min(most, waiting(t, first), until_aged - 1)
end

-- The oldest entries of a stream, at most n.
local function read_entries(stream, n)
  local count = int(n)
  local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', count, 'STREAMS', stream, '>')
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    reply = redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', count, 'STREAMS', stream, '>')
  end
  return reply and reply[1][2] or {}
end

-- A claim is noted as a sign of life if the last one is at least this old: busy workers renew.
local SIGN_MS = 4000

-- A worker is no longer counted.
local function forget_worker(S, worker)
  local slots = tonumber(redis.call('HGET', S.base .. ':wkn', worker)) or 0
  redis.call('HDEL', S.base .. ':wkn', worker)
  redis.call('ZREM', S.base .. ':wks', worker)
  set_shard(S, 'slots', shard(S).slots - slots)
  local away = tonumber(redis.call('HGET', S.base .. ':wka', worker)) or 0
  if away > 0 then
    redis.call('HDEL', S.base .. ':wka', worker)
    set_shard(S, 'away', shard(S).away - away)
  end
end

-- A worker's slots, as the elastic bound counts them.
local function offer(S, worker, slots)
  local old = tonumber(redis.call('HGET', S.base .. ':wkn', worker)) or -1
  if old == slots then return false end
  redis.call('HSET', S.base .. ':wkn', worker, int(slots))
  set_shard(S, 'slots', shard(S).slots + slots - math.max(old, 0))
  return true
end

-- Whether an operator drains a worker.
local function is_drained(S, worker) return redis.call('ZSCORE', S.base .. ':drain', worker) and true or false end

-- Forgets a few workers whose last sign of life is too old.
local function forget_gone(S)
  local silent_since = int(S.now - WORKER_TTL_MS)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', S.base .. ':wks', '-inf', silent_since, 'LIMIT', '0', '10')) do forget_worker(S, gone) end
end

-- Notes a worker's sign of life.
local function seen(S, worker, info, slots, renderer)
  local base = S.base
  redis.call('ZADD', base .. ':wks', S.stamp, worker)
  redis.call('SET', base .. ':wk:' .. worker, info, 'PX', int(WORKER_TTL_MS))
  if offer(S, worker, slots) and renderer ~= NO_RENDERER then set_shard(S, 'renderer', renderer) end
end

-- Looks again at a few tenants that wait for a time, for slots or for a lane.
local function readmit(S)
  local base, s = S.base, shard(S)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', base .. ':gate', '-inf', S.stamp, 'LIMIT', '0', '10')) do tenant(S, name).recheck = true end
  for _, name in ipairs(redis.call('ZRANGE', base .. ':over', '0', '49')) do tenant(S, name).recheck = true end
  if s.generation > 0 then
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', base .. ':held', '-inf', '(' .. int(s.generation), 'LIMIT', '0', '50')) do tenant(S, name).recheck = true end
  end
end

-- Milliseconds until a lease runs out or a delayed job is due, at most `limit`.
local function next_due(S, limit)
  local hold = shard(S).hold
  for _, zset in ipairs({ ':lease', ':due', ':dl', ':gate' }) do
    local first = redis.call('ZRANGE', S.base .. zset, '0', '0', 'WITHSCORES')
    if first[2] then
      local at = tonumber(first[2])
      if zset == ':lease' then at = math.max(at, hold) end
      limit = math.min(limit, math.max(1, at - S.now + 1))
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
    redis.call('ZREM', S.base .. ':dl', id)
    job[DL] = 0
  end
  local now = struct.pack(HEAD_CLAIM, unpack(job, 1, CLAIM_FIELDS))
  redis.call('SETRANGE', S.base .. ':j' .. id, '0', now)
  t.a[RUNNING], S.busy = t.a[RUNNING] + 1, nil
  local leased = S.leased
  leased[#leased + 1] = claimant.until_text
  leased[#leased + 1] = id
  set_shard(S, 'V', math.max(shard(S).V, t.a[TAG]))
  charge(t, job[CH])
  hint(S, id, job)
  return now
end

transition('claim', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, now = S.base, S.now
  local worker, n, lease_ms, wait_ms = args[1], math.min(tonumber(args[3]), BUDGET), tonumber(args[4]), tonumber(args[5])
  hear(S, lease_ms)
  forget_gone(S)
  if is_drained(S, worker) then
    seen(S, worker, args[8], 0, args[7])
    redis.call('ZREM', base .. ':idle', worker)
    -- It may have come because of a token on which it must not act: pass the baton.
    if redis.call('ZCARD', base .. ':vt') > 0 then S.ring = 1 end
    flush(S)
    return { -1 }
  end
  local sign = redis.call('ZSCORE', base .. ':wks', worker)
  if not sign or now - tonumber(sign) >= SIGN_MS or redis.call('HGET', base .. ':wkn', worker) ~= args[6] then seen(S, worker, args[8], tonumber(args[6]), args[7]) end
  promote(S, 10)
  reap(S, 10)
  readmit(S)
  flush(S)
  local claimant = { raw = args[2], renderer = args[7], until_text = int(now + lease_ms) }
  local reply, claims = { 0 }, 0
  local budget, more = BUDGET, false
  while n > 0 and not shard(S).all_paused do
    -- The two least tags: the second says how far the first may go on.
    local least = redis.call('ZRANGE', base .. ':vt', '0', '1', 'WITHSCORES')
    local name, tag, rival, rival_tag = least[1], tonumber(least[2]), least[3], tonumber(least[4])
    more = name ~= nil
    if not name or claims >= n or budget <= 0 then break end
    budget = budget - 1
    local t = tenant(S, name)
    place(S, t)
    if t.a[PLACE] == VT and t.a[SCORE] == tag then
      -- That it is active may be what puts it at the elastic bound.
      note_active(S, t)
      place(S, t)
    end
    if t.a[PLACE] == VT and t.a[SCORE] == tag then
      -- How often in a row this tenant has the least tag.
      local step, most = usual(S, t) / (t.quotas.weight or DEFAULT_WEIGHT), 1
      local room = math.min(n - claims, (t.quotas.running or DEFAULT_RUNNING_MAX) - t.a[RUNNING])
      if room > 1 then room = math.min(room, elastic_room(S, t)) end
      local at = tag + step
      while most < room and (not rival or at < rival_tag or (at == rival_tag and name < rival)) do
        most = most + 1
        at = at + step
      end
      local lane, take = pick_lane(S, t, most)
      t.a[TAG] = tag
      local entries = read_entries(stream_key(base, name, lane), take)
      if #entries == 0 then
        -- The count said there is work and the stream has none: put the count right.
        t.a[LEFT + lane] = t.a[ENTERED + lane]
        count(S, 'repairs', 1)
      end
      t.a[PICKS] = t.a[PICKS] + #entries
      for i = 1, #entries do
        local number = tonumber(string.match(entries[i][1], '^%d+'))
        local fields = entries[i][2]
        local id = fields and fields[2]
        local record = id and redis.call('GETRANGE', base .. ':j' .. id, '0', n <= INLINE_MAX and '-1' or CLAIM_LAST) or ''
        local job = record ~= '' and { struct.unpack(HEAD_CLAIM, record) }
        t.a[SERVED + lane] = number
        if not job or job[ST] ~= QUEUED or job[SQ] ~= number or job[SL] ~= lane then
          -- It never entered the lane's count, so it does not leave it either.
          drop_entry(t, lane, number)
          count(S, 'repairs', 1)
        else
          t.a[LEFT + lane] = t.a[LEFT + lane] + 1
          if job[DL] > 0 and job[DL] <= now then
            drop_entry(t, lane, number)
            conclude(S, t, id, load_job(base, id), EXPIRED)
          else
            claimant.token = args[9 + claims]
            local o = claims * 3 + 1
            reply[o + 1], reply[o + 2], reply[o + 3] = id, start(S, t, id, job, claimant), n <= INLINE_MAX and record or ''
            claims = claims + 1
          end
        end
      end
      t.recheck = true
      place(S, t)
    end
  end
  -- The baton: whoever found work wakes the next one while there is more.
  if more and claims > 0 then S.ring = S.ring + 1 end
  if claims > 0 or (more and n > 0) then
    redis.call('ZREM', base .. ':idle', worker)
    wait_ms = 0
  else
    wait_ms = next_due(S, wait_ms)
    if n > 0 then redis.call('ZADD', base .. ':idle', int(now + wait_ms), worker) end
  end
  flush(S)
  reply[1] = wait_ms
  return reply
end)
