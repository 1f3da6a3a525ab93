-- claim: queued -> running, for up to n jobs, fairest tenant first.
-- KEYS  1 base of the shard
-- ARGV  1 worker  2 n  3 lease ms  4 longest wait ms if nothing is found  5 worker's info (JSON)
--       6.. one fresh random lease token per job
-- Returns  {milliseconds until something may become due, {id, tenant, epoch, attempt, token, created ms, claimed ms}, …}
-- Also promotes and reaps a few, and parks the worker in `idle` when it got nothing.
--
-- Fairness is start-time fair queueing over tenants (Goyal, Vin, Cheng 1996): the tenant with the
-- least virtual tag goes first, V follows the tag of the job in service, a claim is charged with the
-- tenant's usual job and put right at its end (see charge).

local function pick_lane(base, tenant, counts)
  local aged = redis.call('HINCRBY', tenant_key(base, tenant), 'pk', 1) % AGEING == 0
  if counts['f'] > 0 then return 'f' end
  for i = 2, #LANES do
    local lane = aged and LANES[#LANES + 2 - i] or LANES[i]
    if counts[lane] > 0 then return lane end
  end
end

-- Takes the oldest entry of a stream; nil if there is none.
local function read_one(base, stream)
  local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', 1, 'STREAMS', stream, '>')
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    reply = redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', 1, 'STREAMS', stream, '>')
  end
  if not reply then return nil end
  local entry = reply[1][2][1]
  return entry[1], entry[2] and entry[2][2]
end

local function seen(base, worker, info, now)
  redis.call('ZADD', base .. ':wks', now, worker)
  redis.call('ZREMRANGEBYSCORE', base .. ':wks', '-inf', now - WORKER_TTL_MS)
  redis.call('SET', base .. ':wk:' .. worker, info, 'PX', WORKER_TTL_MS)
end

-- Milliseconds until a lease runs out or a delayed job is due, at most `limit`.
local function next_due(base, limit, now)
  for _, zset in ipairs({ ':lease', ':due', ':dl' }) do
    local first = redis.call('ZRANGE', base .. zset, 0, 0, 'WITHSCORES')
    if first[2] then limit = math.min(limit, math.max(1, tonumber(first[2]) - now + 1)) end
  end
  return limit
end

transition('claim', { 'allow-oom' }, function(keys, args)
  local base, worker, n, lease_ms = keys[1], args[1], math.min(tonumber(args[2]), BUDGET), tonumber(args[3])
  local wait_ms, now = tonumber(args[4]), now_ms()
  seen(base, worker, args[5], now)
  promote(base, 10, now)
  reap(base, 10, now)
  local claims, budget = {}, n + 20
  while #claims < n and budget > 0 do
    budget = budget - 1
    local first = redis.call('ZRANGE', base .. ':vt', 0, 0, 'WITHSCORES')
    local tenant, tag = first[1], tonumber(first[2])
    if not tenant then break end
    local counts = ready_counts(base, tenant)
    local lane = pick_lane(base, tenant, counts)
    local entry, id
    if lane then entry, id = read_one(base, stream_key(base, tenant, lane)) end
    if not lane then
      redis.call('ZREM', base .. ':vt', tenant)
    elseif not entry then
      -- The count said there is work and the stream has none: put the count right.
      redis.call('HINCRBY', tenant_key(base, tenant), 'd' .. lane, counts[lane])
      count(base, 'ready', -counts[lane])
      count(base, 'repairs', 1)
      refresh(base, tenant)
    else
      redis.call('HINCRBY', tenant_key(base, tenant), 'd' .. lane, 1)
      count(base, 'ready', -1)
      local job = id and load_job(base, id)
      if not job or job.st ~= 'queued' or job.si ~= entry then
        drop_entry(base, tenant, lane, entry)
        count(base, 'repairs', 1)
      elseif job.dl and tonumber(job.dl) <= now then
        drop_entry(base, tenant, lane, entry)
        conclude(base, id, job, 'expired', nil, now)
      else
        local token = args[5 + #claims + 1]
        local key = job_key(base, id)
        local epoch = (tonumber(job.ep) or 0) + 1
        local attempt = (tonumber(job.at) or 0) + 1
        local estimate = tonumber(redis.call('HGET', tenant_key(base, tenant), 'est')) or ESTIMATE_DEFAULT_MS
        redis.call('HSET', key, 'st', 'running', 'ep', int(epoch), 'at', int(attempt), 'wk', worker,
          'lt', token, 'sa', int(now), 'ch', int(estimate))
        redis.call('HINCRBY', key, 'rv', 1)
        redis.call('HDEL', key, 'dl')
        redis.call('SADD', run_key(base, tenant), id)
        redis.call('ZADD', base .. ':lease', now + lease_ms, id)
        redis.call('ZREM', base .. ':dl', id)
        count(base, 'running', 1)
        redis.call('SET', base .. ':V', string.format('%.3f', math.max(tag, tonumber(redis.call('GET', base .. ':V')) or 0)))
        redis.call('HSET', tenant_key(base, tenant), 'tag', string.format('%.3f', tag))
        charge(base, tenant, estimate)
        event(base, id, 'status', cjson.encode({ status = 'running', attempt = attempt, epoch = epoch, worker = worker }))
        claims[#claims + 1] = { id, tenant, epoch, attempt, token, tonumber(job.ca), now }
      end
      refresh(base, tenant)
    end
  end
  if #claims > 0 then
    redis.call('ZREM', base .. ':idle', worker)
    -- The baton: whoever found work wakes the next one while there is more.
    if redis.call('ZCARD', base .. ':vt') > 0 then ring(base, 1, now) end
    wait_ms = 0
  else
    wait_ms = next_due(base, wait_ms, now)
    redis.call('ZADD', base .. ':idle', now + wait_ms, worker)
  end
  table.insert(claims, 1, wait_ms)
  return claims
end)
