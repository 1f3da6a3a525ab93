-- claim: queued -> running, for up to n jobs, fairest tenant first.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 n  3 lease ms  4 longest wait ms if nothing is found  5 worker's info (JSON)
--       6 slots that the worker offers to the elastic bound (0 if it drains)
--       7.. one fresh random lease token per job
-- Returns  {ms until something may become due (0: look again at once), {id, tenant, epoch, attempt, token, created ms, claimed ms}, …}
-- Also promotes and reaps a few, and parks the worker in `idle` when there was nothing.
--
-- Fairness is start-time fair queueing over tenants (Goyal, Vin, Cheng 1996): the tenant with the
-- least virtual tag goes first, V follows the tag of the job in service, a claim is charged with the
-- tenant's usual job and put right at its end (see end_lease). Several jobs are read at once from a
-- tenant only as long as it would have been picked again and again one by one.

local CLAIM_FIELDS = { 'st', 'si', 'ep', 'at', 'ca', 'dl', 'rv' }

-- The lane to take from, and how many picks in a row will take from it, at most `most`.
local function pick_lane(S, t, most)
  local a, s = t.a, shard(S)
  local returned = a[ENTERED.f] - a[LEFT.f]
  if returned > 0 then return 'f', math.min(most, returned) end
  local filled = {}
  for i = 2, #LANES do
    local lane = LANES[i]
    local ready = a[ENTERED[lane]] - a[LEFT[lane]]
    if ready > 0 and not s.lane_paused[lane] then filled[#filled + 1] = { lane, ready } end
  end
  if #filled == 0 then return nil end
  if #filled == 1 then return filled[1][1], math.min(most, filled[1][2]) end
  local until_aged = AGEING - a[PICKS] % AGEING
  if until_aged == 1 then return filled[#filled][1], 1 end
  return filled[1][1], math.min(most, filled[1][2], until_aged - 1)
end

-- The oldest entries of a stream, at most n.
local function read_entries(stream, n)
  local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', n, 'STREAMS', stream, '>')
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    reply = redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', n, 'STREAMS', stream, '>')
  end
  return reply and reply[1][2] or {}
end

-- A worker is no longer counted.
local function forget_worker(S, worker)
  local slots = tonumber(redis.call('HGET', S.base .. ':wkn', worker)) or 0
  redis.call('HDEL', S.base .. ':wkn', worker)
  redis.call('ZREM', S.base .. ':wks', worker)
  set_shard(S, 'slots', shard(S).slots - slots)
end

-- Notes a worker's sign of life, and forgets a few whose last one is too old.
local function seen(S, worker, info, slots)
  local base, now = S.base, S.now
  redis.call('ZADD', base .. ':wks', now, worker)
  redis.call('SET', base .. ':wk:' .. worker, info, 'PX', WORKER_TTL_MS)
  local old = tonumber(redis.call('HGET', base .. ':wkn', worker)) or 0
  if old ~= slots then
    redis.call('HSET', base .. ':wkn', worker, slots)
    set_shard(S, 'slots', shard(S).slots + slots - old)
  end
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', base .. ':wks', '-inf', now - WORKER_TTL_MS, 'LIMIT', 0, 10)) do
    forget_worker(S, gone)
  end
end

-- Looks again at a few tenants that wait for a time, for slots or for a lane.
local function readmit(S)
  local base, s = S.base, shard(S)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', base .. ':gate', '-inf', S.now, 'LIMIT', 0, 10)) do tenant(S, name).recheck = true end
  for _, name in ipairs(redis.call('ZRANGE', base .. ':over', 0, 9)) do tenant(S, name).recheck = true end
  if s.generation > 0 then
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', base .. ':held', '-inf', '(' .. s.generation, 'LIMIT', 0, 50)) do tenant(S, name).recheck = true end
  end
end

-- Milliseconds until a lease runs out or a delayed job is due, at most `limit`.
local function next_due(S, limit)
  local hold = shard(S).hold
  for _, zset in ipairs({ ':lease', ':due', ':dl', ':gate' }) do
    local first = redis.call('ZRANGE', S.base .. zset, 0, 0, 'WITHSCORES')
    if first[2] then
      local at = tonumber(first[2])
      if zset == ':lease' then at = math.max(at, hold) end
      limit = math.min(limit, math.max(1, at - S.now + 1))
    end
  end
  return limit
end

-- queued -> running for one job that was just read from its stream.
local function start(S, t, id, job, worker, lease_ms, token)
  local epoch, attempt = (tonumber(job.ep) or 0) + 1, (tonumber(job.at) or 0) + 1
  redis.call('HSET', job_key(S.base, id), 'st', 'running', 'ep', int(epoch), 'at', int(attempt), 'wk', worker,
    'lt', token, 'sa', S.stamp, 'ch', int(t.a[ESTIMATE]), 'rv', int(job.rv + 1))
  if job.dl then
    redis.call('HDEL', job_key(S.base, id), 'dl')
    redis.call('ZREM', S.base .. ':dl', id)
  end
  t.started[#t.started + 1] = id
  S.leased[#S.leased + 1] = int(S.now + lease_ms)
  S.leased[#S.leased + 1] = id
  set_shard(S, 'V', math.max(shard(S).V, t.a[TAG]))
  charge(t, t.a[ESTIMATE])
  event(S, id, 'status', '{"status":"running","attempt":' .. attempt .. ',"epoch":' .. epoch .. ',"worker":"' .. worker .. '"}')
  return { id, t.name, epoch, attempt, token, tonumber(job.ca), S.now }
end

transition('claim', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, worker, n, lease_ms = S.base, args[1], math.min(tonumber(args[2]), BUDGET), tonumber(args[3])
  local wait_ms, now = tonumber(args[4]), S.now
  hear(S, lease_ms)
  seen(S, worker, args[5], tonumber(args[6]))
  promote(S, 10)
  reap(S, 10)
  readmit(S)
  if #S.list > 0 then flush(S) end
  local claims, budget, more = {}, n + 20, false
  local paused = shard(S).all_paused
  while not paused do
    local first = redis.call('ZRANGE', base .. ':vt', 0, 1, 'WITHSCORES')
    local name, tag, rival, rival_tag = first[1], tonumber(first[2]), first[3], tonumber(first[4])
    more = name ~= nil
    if not name or #claims >= n or budget <= 0 then break end
    budget = budget - 1
    local t = tenant(S, name)
    note_active(S, t)
    place(S, t)
    if t.a[PLACE] == VT and t.a[SCORE] == tag then
      -- How often in a row this tenant has the least tag.
      local step, most = t.a[ESTIMATE] / (t.quotas.weight or DEFAULT_WEIGHT), 1
      local room = math.min(n - #claims, (t.quotas.running or DEFAULT_RUNNING_MAX) - running(S, t))
      if room > 1 and running(S, t) + room > elastic_bound(S) and others_are_active(S) then
        room = math.max(1, elastic_bound(S) - running(S, t))
      end
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
        t.a[LEFT[lane]] = t.a[ENTERED[lane]]
        count(S, 'repairs', 1)
      end
      t.a[PICKS] = t.a[PICKS] + #entries
      for _, pair in ipairs(entries) do
        local entry, id = pair[1], pair[2] and pair[2][2]
        local v = id and redis.call('HMGET', job_key(base, id), unpack(CLAIM_FIELDS)) or {}
        local job = { st = v[1], si = v[2], ep = v[3], at = v[4], ca = v[5], dl = v[6], rv = v[7] }
        local ours = job.st == 'queued' and job.si == entry
        if ours then t.a[LEFT[lane]] = t.a[LEFT[lane]] + 1 end
        if not ours then
          -- It never entered the lane's count, so it does not leave it either.
          drop_entry(t, lane, entry)
          count(S, 'repairs', 1)
        elseif job.dl and tonumber(job.dl) <= now then
          drop_entry(t, lane, entry)
          conclude(S, t, id, load_job(base, id), 'expired')
        else
          claims[#claims + 1] = start(S, t, id, job, worker, lease_ms, args[7 + #claims])
        end
      end
      t.recheck = true
      place(S, t)
    end
  end
  -- The baton: whoever found work wakes the next one while there is more.
  if more and #claims > 0 then S.ring = S.ring + 1 end
  if #claims > 0 or (more and n > 0) then
    redis.call('ZREM', base .. ':idle', worker)
    wait_ms = 0
  else
    wait_ms = next_due(S, wait_ms)
    if n > 0 then redis.call('ZADD', base .. ':idle', now + wait_ms, worker) end
  end
  flush(S)
  table.insert(claims, 1, wait_ms)
  return claims
end)
