-- enqueue: nothing -> queued, for up to BUDGET jobs of one tenant.
-- KEYS  1 base of the shard
-- ARGV  1 tenant, then for each job:
--       id, lane digit, delay ms (0 = now), deadline ms (0 = none), idempotency key ('' = none), fingerprint
-- The caller has SET each payload `jp:<id>` with a short expiry right before; it is made lasting here.
-- Returns  for each job one of {'ok', id} {'exists', id of the earlier} {'mismatch', id of the earlier}
--          {'full', queued, limit} {'no_payload', id}
-- Safe to repeat with the same idempotency key.

local IDEMPOTENCY_KEEP_S = 86400

transition('enqueue', {}, function(keys, args)
  local base, tenant, now = keys[1], args[1], now_ms()
  local jobs = math.floor((#args - 1) / 6)
  if jobs < 1 or jobs > BUDGET then return redis.error_reply('ERR enqueue takes 1 to ' .. BUDGET .. ' jobs') end
  local t = tenant_key(base, tenant)
  local v = redis.call('HMGET', t, 'live', 'mq')
  local queued, limit = tonumber(v[1]) or 0, tonumber(v[2]) or DEFAULT_QUEUED_MAX
  local replies, ready = {}, 0
  for i = 1, jobs do
    local o = 2 + (i - 1) * 6
    local id, lane, delay, deadline = args[o], args[o + 1], tonumber(args[o + 2]), tonumber(args[o + 3])
    local idem, fingerprint = args[o + 4], args[o + 5]
    local uq = idem ~= '' and (base .. ':uq:' .. tenant .. ':' .. idem) or nil
    local earlier = uq and redis.call('GET', uq)
    if earlier then
      local earlier_id, earlier_fingerprint = string.match(earlier, '^(%S+) (.*)$')
      replies[i] = { earlier_fingerprint == fingerprint and 'exists' or 'mismatch', earlier_id }
    elseif queued >= limit then
      replies[i] = { 'full', queued, limit }
    elseif redis.call('PERSIST', base .. ':jp:' .. id) == 0 then
      replies[i] = { 'no_payload', id }
    else
      redis.call('HSET', job_key(base, id), 'st', 'queued', 'tn', tenant, 'ln', lane, 'ca', int(now), 'rv', '1')
      if uq then redis.call('SET', uq, id .. ' ' .. fingerprint, 'EX', IDEMPOTENCY_KEEP_S) end
      if deadline > 0 then
        redis.call('HSET', job_key(base, id), 'dl', int(now + deadline))
        redis.call('ZADD', base .. ':dl', now + deadline, id)
      end
      if delay > 0 then
        redis.call('HSET', job_key(base, id), 'nb', int(now + delay), 'sl', lane)
        redis.call('ZADD', base .. ':due', now + delay, id)
      else
        push(base, tenant, lane, id)
        ready = ready + 1
      end
      queued = queued + 1
      replies[i] = { 'ok', id }
    end
  end
  redis.call('HSET', t, 'live', int(queued))
  count(base, 'submitted', jobs)
  if ready > 0 and refresh(base, tenant) then ring(base, ready, now) end
  return replies
end)
