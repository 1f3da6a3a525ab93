-- read: one consistent picture of a job. Changes nothing.
-- KEYS  1 base of the shard
-- ARGV  1 id
-- Returns  {hash of the job as flat list, payload, {attempts}, result, place in its lane or 0, ttl ms, progress} | nil
-- The place counts jobs of the same tenant and lane; it may be too small by the number of jobs
-- behind this one that were cancelled.

transition('read', { 'no-writes' }, function(keys, args)
  local base, id = keys[1], args[1]
  local hash = redis.call('HGETALL', job_key(base, id))
  if #hash == 0 then return nil end
  local job = {}
  for i = 1, #hash, 2 do job[hash[i]] = hash[i + 1] end
  local position = 0
  if job.st == 'queued' and tonumber(job.sq) and not tonumber(job.nb) then
    local state = redis.call('HGET', tenant_key(base, job.tn), 'a')
    local left = state and cmsgpack.unpack(state)[LEFT[job.sl]] or 0
    position = math.max(1, tonumber(job.sq) - left)
  end
  local result = redis.call('LINDEX', base .. ':je:' .. id, -2) or ''
  return { hash, redis.call('GET', base .. ':jp:' .. id), redis.call('LRANGE', base .. ':ja:' .. id, 0, -1),
    string.match(result, '^%d+ result (.*)$') or false, position, redis.call('PTTL', job_key(base, id)),
    redis.call('GET', base .. ':jg:' .. id) }
end)

-- events: what happened to a job, in order. Changes nothing.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 number of the last event that the caller has seen (0 = none)  3 most events
-- Returns  {number of the first event returned, '<ms> <kind> <data>', …}
-- Events are numbered from 1; of more than EVENTS_MAX the oldest are gone (`ed` counts those).

transition('events', { 'no-writes' }, function(keys, args)
  local base, id = keys[1], args[1]
  local gone = tonumber(redis.call('HGET', job_key(base, id), 'ed') or nil) or 0
  local start = math.max(0, tonumber(args[2]) - gone)
  local reply = redis.call('LRANGE', base .. ':je:' .. id, start, start + tonumber(args[3]) - 1)
  table.insert(reply, 1, gone + start + 1)
  return reply
end)
