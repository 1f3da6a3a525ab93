-- What every transition shares. The files of this folder are joined into one library, this one first.
--
-- Every function takes one key: the base of a shard, such as `{mq:0}`. All other keys are built
-- from it, so they carry the same hash tag and live in one cluster slot. Their list with types
-- and expiries is `shared/src/keys.rs`.
--
-- Rules: server time only; state and epoch are checked before anything is written; a stale
-- caller changes nothing; at most BUDGET items a call.

local GROUP, CONSUMER = 'g', 'c'
local BUDGET = 100
-- A job whose lease was lost this often is poison: it becomes a dead letter.
local LOST_MAX = 3
-- Attempts that may fail by our own fault before the job fails for good.
local FAILURES_MAX = 3
-- Back-off of the n-th retry: full jitter over RETRY_BASE_MS * 2^(n-1), at most RETRY_CAP_MS.
local RETRY_BASE_MS, RETRY_CAP_MS = 1000, 60000
-- How long terminal jobs are kept, seconds.
local KEEP_SUCCEEDED_S, KEEP_OTHER_S = 86400, 1209600
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
-- Lanes in the order of their claim: returned jobs first.
local LANES = { 'f', '0', '1', '2' }

-- Registers one transition under the library's own prefix, so that two versions live side by side.
-- `allow-oom` on all that end or carry on work: a full Redis must still be able to drain.
local function transition(name, flags, callback)
  redis.register_function({ function_name = '@PREFIX@' .. name, flags = flags, callback = callback })
end

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Numbers in keys and replies: never in exponent form.
local function int(n) return string.format('%d', n) end

local function job_key(base, id) return base .. ':j:' .. id end
local function tenant_key(base, tenant) return base .. ':t:' .. tenant end
local function stream_key(base, tenant, lane) return base .. ':t:' .. tenant .. ':q' .. lane end
local function run_key(base, tenant) return base .. ':t:' .. tenant .. ':run' end

-- Appends to the job's event stream and wakes whoever watches this job.
local function event(base, id, kind, data)
  redis.call('XADD', base .. ':je:' .. id, 'MAXLEN', '~', EVENTS_MAX, '*', 'e', kind, 'd', data)
  redis.call('PUBLISH', base .. ':ev:' .. id, kind)
end

local function count(base, field, by) redis.call('HINCRBY', base .. ':ct', field, by) end

-- Wakes up to n parked workers. Tokens stay in the list, so none is lost between
-- "found nothing" and "blocks on the bell".
local function ring(base, n, now)
  redis.call('ZREMRANGEBYSCORE', base .. ':idle', '-inf', now)
  local parked = redis.call('ZCARD', base .. ':idle') - redis.call('LLEN', base .. ':bell')
  for _ = 1, math.min(n, parked) do redis.call('RPUSH', base .. ':bell', '1') end
end

-- Ready jobs of a tenant by lane. A lane's count is what entered (s) less what left (d).
local function ready_counts(base, tenant)
  local v = redis.call('HMGET', tenant_key(base, tenant), 'sf', 'df', 's0', 'd0', 's1', 'd1', 's2', 'd2')
  local counts, total = {}, 0
  for i, lane in ipairs(LANES) do
    local c = (tonumber(v[2 * i - 1]) or 0) - (tonumber(v[2 * i]) or 0)
    counts[lane] = c
    total = total + c
  end
  return counts, total
end

-- Keeps `vt` true: a tenant is in it exactly when a claim could take a job of it.
-- On (re)entry its tag is at least V, so a tenant that was away has no claim on the past.
local function refresh(base, tenant)
  local t = tenant_key(base, tenant)
  local v = redis.call('HMGET', t, 'cap', 'tag', 'paused')
  local _, total = ready_counts(base, tenant)
  local cap = tonumber(v[1]) or DEFAULT_RUNNING_MAX
  local eligible = total > 0 and v[3] ~= '1' and redis.call('SCARD', run_key(base, tenant)) < cap
  if not eligible then
    redis.call('ZREM', base .. ':vt', tenant)
    return false
  end
  local virtual = tonumber(redis.call('GET', base .. ':V')) or 0
  local tag = math.max(tonumber(v[2]) or 0, virtual)
  redis.call('ZADD', base .. ':vt', tag, tenant)
  return true
end

-- Adds to a tenant's virtual tag: slot-milliseconds by weight.
local function charge(base, tenant, ms)
  if ms == 0 then return end
  local t = tenant_key(base, tenant)
  local v = redis.call('HMGET', t, 'tag', 'w')
  local weight = tonumber(v[2]) or DEFAULT_WEIGHT
  local tag = (tonumber(v[1]) or 0) + ms / weight
  redis.call('HSET', t, 'tag', string.format('%.3f', tag))
end

-- Puts a job that is `queued` in the record into a lane's stream.
local function push(base, tenant, lane, id)
  local entry = redis.call('XADD', stream_key(base, tenant, lane), '*', 'j', id)
  local seq = redis.call('HINCRBY', tenant_key(base, tenant), 's' .. lane, 1)
  redis.call('HSET', job_key(base, id), 'si', entry, 'sl', lane, 'sq', int(seq))
  count(base, 'ready', 1)
end

-- Takes a job's entry out of its stream, delivered or not.
local function drop_entry(base, tenant, lane, entry)
  local stream = stream_key(base, tenant, lane)
  redis.pcall('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
end

-- The same for one that was not delivered yet: it also leaves the counts.
local function withdraw(base, tenant, lane, entry)
  drop_entry(base, tenant, lane, entry)
  redis.call('HINCRBY', tenant_key(base, tenant), 'd' .. lane, 1)
  count(base, 'ready', -1)
end

-- Writes the end of the current attempt into the job's list of attempts.
local function attempt_ended(base, id, job, outcome, class, now)
  redis.call('RPUSH', base .. ':ja:' .. id, cjson.encode({
    n = tonumber(job.at), epoch = tonumber(job.ep), worker = job.wk,
    started_ms = tonumber(job.sa), ended_ms = now, outcome = outcome, class = class,
  }))
end

-- Any non-terminal state -> a terminal one. The caller has taken the job out of stream,
-- `run`, `lease` and `due` as its state needed.
local function conclude(base, id, job, status, result, now)
  local key = job_key(base, id)
  redis.call('HSET', key, 'st', status, 'fi', int(now))
  redis.call('HDEL', key, 'lt', 'pg', 'nb')
  redis.call('HINCRBY', key, 'rv', 1)
  if result and result ~= '' then redis.call('SET', base .. ':jr:' .. id, result) end
  event(base, id, 'done', cjson.encode({ status = status }))
  local keep = status == 'succeeded' and KEEP_SUCCEEDED_S or KEEP_OTHER_S
  for _, kind in ipairs({ ':j:', ':jp:', ':je:', ':ja:', ':jr:' }) do
    redis.call('EXPIRE', base .. kind .. id, keep)
  end
  redis.call('ZREM', base .. ':dl', id)
  redis.call('HINCRBY', tenant_key(base, job.tn), 'live', -1)
  count(base, status, 1)
end

local JOB_FIELDS = { 'st', 'tn', 'ln', 'si', 'sl', 'ep', 'at', 'fa', 'cr', 'wk', 'sa', 'ch', 'cx', 'fo', 'lt', 'ca', 'dl' }

-- The fields of a job that transitions look at; nil if there is no such job.
local function load_job(base, id)
  local v = redis.call('HMGET', job_key(base, id), unpack(JOB_FIELDS))
  if not v[1] then return nil end
  local job = {}
  for i, field in ipairs(JOB_FIELDS) do job[field] = v[i] end
  return job
end

-- Ends the lease: the job leaves the stream, `run` and `lease`, the tenant's charge is put right.
local function end_lease(base, id, job, now)
  drop_entry(base, job.tn, job.sl, job.si)
  redis.call('SREM', run_key(base, job.tn), id)
  redis.call('ZREM', base .. ':lease', id)
  count(base, 'running', -1)
  local used = math.max(0, now - (tonumber(job.sa) or now))
  charge(base, job.tn, used - (tonumber(job.ch) or 0))
  return used
end

-- Puts a job back to `queued`, in front of its tenant's others, or later.
local function requeue(base, id, job, delay_ms, reason, now)
  local key = job_key(base, id)
  redis.call('HSET', key, 'st', 'queued')
  redis.call('HDEL', key, 'lt', 'pg', 'wk')
  redis.call('HINCRBY', key, 'rv', 1)
  if delay_ms > 0 then
    redis.call('HSET', key, 'nb', int(now + delay_ms), 'sl', 'f')
    redis.call('ZADD', base .. ':due', now + delay_ms, id)
  else
    push(base, job.tn, 'f', id)
    if refresh(base, job.tn) then ring(base, 1, now) end
  end
  event(base, id, 'status', cjson.encode({ status = 'queued', reason = reason, retry_in_ms = delay_ms }))
end

-- The check of every call by a lease holder.
local function holds(job, epoch) return job and job.st == 'running' and job.ep == epoch end
