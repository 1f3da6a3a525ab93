-- audit: compares everything that says the same thing twice, and tells where it differs.
-- repair: the same, and puts it right; each repair counts in `repairs`, which must stay 0.
-- KEYS  1 base of the shard
-- ARGV  1 cursor: '' at first, then what the last call returned
-- Returns  {next cursor ('' after the last part), items looked at, violation, …}
--
-- At most BUDGET items a call, so a long audit is no single picture; each item is judged within one
-- call, so what moves between two calls is never reported. The parts, in order:
--   totals  submitted less ended = waiting + running + delayed; workers' slots add up
--   lease   each leased job runs, is pending in its stream and in its tenant's `run`
--   due     each waits for its time and is in no stream;  dl  each is queued with that deadline
--   tenants counts = streams, `run` = pending = leases' owners, live jobs, one group with one consumer,
--           place = predicate of eligibility (within what claims put right by themselves)
--   q…      each stream entry is the one its job names: queued if undelivered, running if pending

local function parts(S, repair, cursor)
  local base, found, looked = S.base, {}, 0
  local function wrong(text, fix)
    found[#found + 1] = text
    if repair and fix then
      fix()
      count(S, 'repairs', 1)
    end
  end

  -- Whether a job's entry is pending in its stream.
  local function pending(job)
    if not job.si or job.si == '' then return false end
    local reply = redis.pcall('XPENDING', stream_key(base, job.tn, job.sl), GROUP, job.si, job.si, 1)
    return not reply.err and #reply == 1
  end

  local function totals()
    looked = looked + 1
    local v = redis.call('HMGET', base .. ':ct', 'submitted', 'succeeded', 'failed', 'canceled', 'expired')
    for i = 1, 5 do v[i] = tonumber(v[i]) or 0 end
    local alive = v[1] - v[2] - v[3] - v[4] - v[5]
    local lease, due = redis.call('ZCARD', base .. ':lease'), redis.call('ZCARD', base .. ':due')
    if redis.call('ZCARD', base .. ':tns') <= BUDGET then
      local ready, live = 0, 0
      for _, name in ipairs(redis.call('ZRANGE', base .. ':tns', 0, -1)) do
        looked = looked + 1
        local a = tenant(S, name).a
        live = live + a[LIVE]
        for _, lane in ipairs(LANES) do ready = ready + a[ENTERED[lane]] - a[LEFT[lane]] end
      end
      if ready + lease + due ~= alive then
        wrong('totals: ' .. ready .. ' ready + ' .. lease .. ' running + ' .. due .. ' delayed, but ' .. alive .. ' were submitted and have not ended')
      end
      if live ~= alive then wrong('totals: tenants have ' .. live .. ' live jobs, but ' .. alive .. ' were submitted and have not ended') end
    elseif lease + due > alive then
      wrong('totals: ' .. lease .. ' running + ' .. due .. ' delayed, but only ' .. alive .. ' were submitted and have not ended')
    end
    if redis.call('HLEN', base .. ':wkn') <= BUDGET then
      local slots = 0
      for _, n in ipairs(redis.call('HVALS', base .. ':wkn')) do slots = slots + tonumber(n) end
      if slots ~= shard(S).slots then
        wrong('totals: workers offer ' .. slots .. ' slots, ' .. shard(S).slots .. ' are counted', function() set_shard(S, 'slots', slots) end)
      end
    end
    local least = redis.call('ZRANGE', base .. ':vt', 0, 0, 'WITHSCORES')
    if least[2] and tonumber(least[2]) < shard(S).V then
      wrong('vt: ' .. least[1] .. ' has tag ' .. least[2] .. ', below the virtual time', function() tenant(S, least[1]).recheck = true end)
    end
  end

  local function leased(id)
    local job = load_job(base, id)
    if not job then
      wrong('lease: ' .. id .. ' has no record', function() redis.call('ZREM', base .. ':lease', id) end)
    elseif job.st ~= 'running' then
      wrong('lease: ' .. id .. ' is ' .. job.st, function() redis.call('ZREM', base .. ':lease', id) end)
    else
      if redis.call('SISMEMBER', run_key(base, job.tn), id) == 0 then
        wrong('run: ' .. id .. ' runs and is not in it', function()
          local t = tenant(S, job.tn)
          t.started[#t.started + 1] = id
          t.recheck = true
        end)
      end
      if not pending(job) then wrong('stream: ' .. id .. ' runs and its entry ' .. tostring(job.si) .. ' is not pending') end
      if not tonumber(job.ep) or tonumber(job.ep) < 1 then wrong('job: ' .. id .. ' runs without an epoch') end
    end
  end

  local function delayed(id)
    local job = load_job(base, id)
    if not job or job.st ~= 'queued' then
      wrong('due: ' .. id .. ' is ' .. (job and job.st or 'no job'), function() redis.call('ZREM', base .. ':due', id) end)
    elseif job.si and job.si ~= '' then
      wrong('due: ' .. id .. ' is also in a stream')
    end
  end

  local function dated(id)
    local job = load_job(base, id)
    if not job or job.st ~= 'queued' or not job.dl then
      wrong('dl: ' .. id .. ' is ' .. (job and job.st or 'no job'), function() redis.call('ZREM', base .. ':dl', id) end)
    end
  end

  local function of_tenant(name)
    local t = tenant(S, name)
    local a, in_streams = t.a, 0
    for _, lane in ipairs(LANES) do
      local stream = stream_key(base, name, lane)
      local length, waiting = redis.call('XLEN', stream), a[ENTERED[lane]] - a[LEFT[lane]]
      local group = redis.pcall('XPENDING', stream, GROUP)
      local delivered = not group.err and group[1] or 0
      in_streams = in_streams + delivered
      if length - delivered ~= waiting then
        wrong('tenant ' .. name .. ': ' .. waiting .. ' jobs counted ready in lane ' .. lane .. ', ' .. (length - delivered) .. ' are', function()
          a[LEFT[lane]] = a[ENTERED[lane]] - (length - delivered)
          t.recheck = true
        end)
      end
      if not group.err and type(group[4]) == 'table' and (#group[4] > 1 or group[4][1][1] ~= CONSUMER) then
        wrong('tenant ' .. name .. ': lane ' .. lane .. ' has a strange consumer')
      end
    end
    if running(S, t) ~= in_streams then
      wrong('tenant ' .. name .. ': ' .. running(S, t) .. ' jobs in run, ' .. in_streams .. ' entries pending', function()
        if running(S, t) > BUDGET then return end
        for _, id in ipairs(redis.call('SMEMBERS', run_key(base, name))) do
          local job = load_job(base, id)
          if not job or job.st ~= 'running' then t.stopped[#t.stopped + 1] = id end
        end
        t.recheck = true
      end)
    end
    if a[LIVE] < in_streams then wrong('tenant ' .. name .. ': ' .. a[LIVE] .. ' live jobs, but ' .. in_streams .. ' run') end
    local where, score = belongs(S, t)
    local was = a[PLACE]
    for p = VT, GATE do
      local stored = tonumber(redis.call('ZSCORE', base .. PLACES[p], name) or nil)
      if (p == was) ~= (stored ~= nil) or (p == was and stored ~= a[SCORE]) then
        wrong('tenant ' .. name .. ': ' .. PLACES[p] .. ' and its own note of it differ', function()
          redis.call('ZREM', base .. PLACES[p], name)
          a[PLACE], a[SCORE] = NOWHERE, 0
          t.recheck = true
        end)
      end
    end
    -- Claims move between vt, over, held and gate by themselves when slots, lanes or days change.
    if (where == NOWHERE) ~= (was == NOWHERE) then
      wrong('tenant ' .. name .. ': ' .. (was == NOWHERE and 'could be served and waits nowhere' or 'waits in ' .. PLACES[was] .. ' and could not be served'),
        function() t.recheck = true end)
    elseif where == VT and was == VT and score ~= a[SCORE] then
      wrong('tenant ' .. name .. ': in vt with ' .. a[SCORE] .. ', should be ' .. score, function() t.recheck = true end)
    end
  end

  local function entry_of(name, lane, entry, id)
    local job = id and load_job(base, id)
    local t = tenant(S, name)
    local isolated = { tn = name, sl = lane, si = entry }
    if not job or job.si ~= entry or job.sl ~= lane or job.tn ~= name then
      wrong('stream: entry ' .. entry .. ' of ' .. name .. ' is not where its job ' .. tostring(id) .. ' says', function()
        if not pending(isolated) then t.a[LEFT[lane]] = t.a[LEFT[lane]] + 1 end
        drop_entry(t, lane, entry)
        t.recheck = true
      end)
    elseif job.st == 'running' then
      if not pending(isolated) then wrong('stream: ' .. id .. ' runs and its entry is not delivered') end
      if not redis.call('ZSCORE', base .. ':lease', id) then
        wrong('lease: ' .. id .. ' runs without one', function() redis.call('ZADD', base .. ':lease', S.now, id) end)
      end
    elseif job.st ~= 'queued' then
      wrong('stream: ' .. id .. ' is ' .. job.st .. ' and still has an entry', function()
        if not pending(isolated) then t.a[LEFT[lane]] = t.a[LEFT[lane]] + 1 end
        drop_entry(t, lane, entry)
        t.recheck = true
      end)
    elseif pending(isolated) then
      wrong('stream: ' .. id .. ' is queued and its entry was delivered')
    end
  end

  -- Walks on from the cursor, `<part> <place> [<stream entry>]`.
  local part, at, after = string.match(cursor, '^(%a+) (%d+) ?(.*)$')
  part, at = part or 'totals', tonumber(at) or 0
  local zsets = { lease = { leased, 'due' }, due = { delayed, 'dl' }, dl = { dated, 'tenants' }, tenants = { of_tenant, 'q' } }
  while looked < BUDGET do
    if part == 'totals' then
      totals()
      part, at = 'lease', 0
    elseif part == 'q' then
      -- Each tenant has four streams: `at` counts them through.
      local name = redis.call('ZRANGE', base .. ':tns', math.floor(at / 4), math.floor(at / 4))[1]
      if not name then return '', looked, found end
      local lane, room = LANES[at % 4 + 1], BUDGET - looked
      local start = (after and after ~= '') and '(' .. after or '-'
      local entries = redis.call('XRANGE', stream_key(base, name, lane), start, '+', 'COUNT', room)
      for _, pair in ipairs(entries) do entry_of(name, lane, pair[1], pair[2][2]) end
      looked = looked + math.max(1, #entries)
      if #entries == room then after = entries[#entries][1] else at, after = at + 1, '' end
    else
      local each, following = zsets[part][1], zsets[part][2]
      local room = BUDGET - looked
      local names = redis.call('ZRANGE', base .. (part == 'tenants' and ':tns' or ':' .. part), at, at + room - 1)
      for _, name in ipairs(names) do each(name) end
      looked = looked + #names
      if #names == room then at = at + room else part, at = following, 0 end
    end
  end
  return part .. ' ' .. at .. ' ' .. (after or ''), looked, found
end

local function audit(keys, args, repair)
  local S = open(keys[1])
  local cursor, looked, found = parts(S, repair, args[1] or '')
  if repair then flush(S) end
  table.insert(found, 1, looked)
  table.insert(found, 1, cursor)
  return found
end

transition('audit', { 'no-writes' }, function(keys, args) return audit(keys, args, false) end)
transition('repair', { 'allow-oom' }, function(keys, args) return audit(keys, args, true) end)
