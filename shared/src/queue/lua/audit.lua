-- audit: compares everything that says the same thing twice, and tells where it differs.
-- repair: the same, and puts it right; each repair counts in `repairs`, which must stay 0. Wakes a worker if work waits.
-- KEYS  1 base of the shard
-- ARGV  1 cursor: '' at first, then what the last call returned
-- Returns  {next cursor ('' after the last part), items looked at, violation, …}
--
-- At most BUDGET items a call, so a long audit is no single picture; each item is judged within one
-- call, so what moves between two calls is never reported. The parts, in order:
--   totals  submitted less ended = waiting + running + delayed + following; workers' slots add up
--   lease   each leased job runs and is pending in its stream
--   due     each waits for its time and is in no stream;  dl  each is queued with that deadline
--   tenants counts = streams, running = pending, live jobs, one group with one consumer,
--           place = predicate of eligibility (within what claims put right by themselves)
--   q…      each stream entry is the one its job names: queued if undelivered, running if pending;
--           who waits for its render says so, too
--   jobs    of tenants that have more live jobs than all these (where more than BUDGET jobs wait for a time, than
--           all but those), or jobs that wait for others' renders: each in their lists waits where it says; then no
--           more of them are live than are somewhere

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
    if job[SQ] == 0 then return false end
    local entry = int(job[SQ]) .. '-0'
    local reply = try_call('XPENDING', stream_key(base, job[TN], job[SL]), GROUP, entry, entry, 1)
    return not reply.err and #reply == 1
  end

  -- Whether those that wait for a job's render know it.
  local function led(id, job)
    if not has(job, LEADS) then return end
    local some = followers(base, id, job)
    if #some == 0 or #some > FOLLOWERS_MAX then
      wrong('followers: ' .. id .. ' has ' .. #some, #some == 0 and function()
        if has(job, GHOST) then
          give_up(S, tenant(S, job[TN]), id, job)
        else
          clear_flag(job, LEADS)
          put_job(job)
        end
      end)
    end
    for _, follower in ipairs(some) do
      looked = looked + 1
      local other = load_job(base, follower)
      if not other or other[ST] ~= QUEUED or not has(other, FOLLOWS) or short_id(other[WK]) ~= id then
        wrong('followers: ' .. follower .. ' does not wait for ' .. id, function() call('LREM', followers_key(base, id), 0, follower) end)
      end
    end
  end

  local function totals()
    looked = looked + 1
    local v = call('HMGET', base .. ':ct', 'submitted', 'succeeded', 'failed', 'canceled', 'expired')
    for i = 1, 5 do v[i] = tonumber(v[i]) or 0 end
    local alive = v[1] - v[2] - v[3] - v[4] - v[5]
    local lease, due = call('ZCARD', base .. ':lease'), call('ZCARD', base .. ':due')
    local following = tonumber(call('HGET', base .. ':ct', 'following') or 0)
    if call('ZCARD', base .. ':tns') <= BUDGET then
      local ready, live, follow = 0, 0, 0
      for _, name in ipairs(call('ZRANGE', base .. ':tns', 0, -1)) do
        looked = looked + 1
        local t = tenant(S, name)
        live, follow = live + t[LIVE], follow + t[FOLLOWING]
        for lane = 1, 4 do ready = ready + waiting(t, lane) end
      end
      if ready + lease + due + following ~= alive then
        wrong('totals: ' .. ready .. ' ready + ' .. lease .. ' running + ' .. due .. ' delayed + ' .. following .. ' following, but ' .. alive .. ' were submitted and have not ended')
      end
      if follow ~= following then wrong('totals: tenants have ' .. follow .. ' followers, ' .. following .. ' are counted') end
      if live ~= alive then wrong('totals: tenants have ' .. live .. ' live jobs, but ' .. alive .. ' were submitted and have not ended') end
    elseif lease + due + following > alive then
      wrong('totals: ' .. lease .. ' running + ' .. due .. ' delayed + ' .. following .. ' following, but only ' .. alive .. ' were submitted and have not ended')
    end
    if call('HLEN', base .. ':wkn') <= BUDGET then
      local slots = 0
      for _, n in ipairs(call('HVALS', base .. ':wkn')) do slots = slots + tonumber(match(n, '^%d+')) end
      if slots ~= shard(S)[SLOTS] then
        wrong('totals: workers offer ' .. slots .. ' slots, ' .. shard(S)[SLOTS] .. ' are counted', function() set_shard(S, SLOTS, slots) end)
      end
    end
    if call('HLEN', base .. ':wka') <= BUDGET then
      local away = 0
      for _, n in ipairs(call('HVALS', base .. ':wka')) do away = away + tonumber(n) end
      if away ~= shard(S)[AWAY] then
        wrong('totals: workers run ' .. away .. ' jobs of other shards, ' .. shard(S)[AWAY] .. ' are counted', function() set_shard(S, AWAY, away) end)
      end
    end
    local least = call('ZRANGE', base .. ':vt', 0, 0, 'WITHSCORES')
    if least[2] and tonumber(least[2]) < least_tag(S, tenant(S, least[1])) then
      wrong('vt: ' .. least[1] .. ' has tag ' .. least[2] .. ', too far below the virtual time', function() tenant(S, least[1])[RECHECK] = true end)
    end
  end

  local function leased(id)
    local job = load_job(base, id)
    if not job then
      wrong('lease: ' .. id .. ' has no record', function() call('ZREM', base .. ':lease', id) end)
    elseif job[ST] ~= RUNS then
      wrong('lease: ' .. id .. ' is ' .. STATUS[job[ST]], function() call('ZREM', base .. ':lease', id) end)
    else
      if not pending(job) then wrong('stream: ' .. id .. ' runs and its entry ' .. job[SQ] .. ' is not pending') end
      if job[EP] < 1 then wrong('job: ' .. id .. ' runs without an epoch') end
      if job[LT] == NO_ID then wrong('job: ' .. id .. ' runs without a lease token') end
      if has(job, GHOST) and not has(job, LEADS) and job[CX] == 0 then wrong('job: ' .. id .. ' is a ghost that nobody cancelled') end
    end
  end

  local function holds_lease(id)
    if not call('ZSCORE', base .. ':lease', id) then
      wrong('lease: ' .. id .. ' runs without one', function() call('ZADD', base .. ':lease', S.stamp, id) end)
    end
  end

  local function delayed(id)
    local job = load_job(base, id)
    if not job or job[ST] ~= QUEUED then
      wrong('due: ' .. id .. ' is ' .. (job and STATUS[job[ST]] or 'no job'), function() call('ZREM', base .. ':due', id) end)
    elseif job[SQ] ~= 0 or has(job, FOLLOWS) then
      wrong('due: ' .. id .. ' also waits elsewhere')
    else
      led(id, job)
    end
  end

  local function dated(id)
    local job = load_job(base, id)
    if not job or job[ST] ~= QUEUED or job[DL] == 0 then
      wrong('dl: ' .. id .. ' is ' .. (job and STATUS[job[ST]] or 'no job'), function() call('ZREM', base .. ':dl', id) end)
    end
  end

  local function of_tenant(name)
    local t = tenant(S, name)
    local in_streams = 0
    for lane = 1, 4 do
      local stream = stream_key(base, name, lane)
      local length, counted = call('XLEN', stream), waiting(t, lane)
      local group = try_call('XPENDING', stream, GROUP)
      local delivered = not group.err and group[1] or 0
      in_streams = in_streams + delivered
      local ready = length - delivered - t[STALE + lane]
      if ready ~= counted then
        wrong('tenant ' .. name .. ': ' .. counted .. ' jobs counted ready in lane ' .. LANES[lane] .. ', ' .. ready .. ' are', function()
          trim(S, t, lane, NOTHING)
          t[STALE + lane] = 0
          t[LEFT + lane] = t[ENTERED + lane] - (call('XLEN', stream) - delivered)
          t[RECHECK] = true
        end)
      end
      if t[STALE + lane] > TRIM_FROM + BUDGET then wrong('tenant ' .. name .. ': lane ' .. LANES[lane] .. ' keeps ' .. t[STALE + lane] .. ' entries that are done with') end
      if not group.err and type(group[4]) == 'table' and (#group[4] > 1 or group[4][1][1] ~= CONSUMER) then
        wrong('tenant ' .. name .. ': lane ' .. lane .. ' has a strange consumer')
      end
    end
    if t[RUNNING] ~= in_streams then
      wrong('tenant ' .. name .. ': ' .. t[RUNNING] .. ' jobs counted running, ' .. in_streams .. ' entries are pending', function()
        t[RUNNING] = in_streams
        t[RECHECK] = true
      end)
    end
    if t[LIVE] < in_streams + t[FOLLOWING] then
      wrong('tenant ' .. name .. ': ' .. t[LIVE] .. ' live jobs, but ' .. in_streams .. ' run and ' .. t[FOLLOWING] .. ' follow')
    end
    local where, score = belongs(S, t)
    local was = t[PLACE]
    for p = VT, GATE do
      local stored = tonumber(call('ZSCORE', base .. PLACES[p], name) or nil)
      if (p == was) ~= (stored ~= nil) or (p == was and stored ~= t[SCORE]) then
        wrong('tenant ' .. name .. ': ' .. PLACES[p] .. ' has it with ' .. tostring(stored) .. ', its own note says ' .. (PLACES[was] or 'nowhere') .. ' with ' .. t[SCORE], function()
          call('ZREM', base .. PLACES[p], name)
          t[PLACE], t[SCORE] = NOWHERE, 0
          t[RECHECK] = true
        end)
      end
    end
    -- Claims move between vt, over, held and gate by themselves when slots, lanes or days change.
    if (where == NOWHERE) ~= (was == NOWHERE) then
      wrong('tenant ' .. name .. ': ' .. (was == NOWHERE and 'could be served and waits nowhere' or 'waits in ' .. PLACES[was] .. ' and could not be served'),
        function() t[RECHECK] = true end)
    elseif where == VT and was == VT and score ~= t[SCORE] then
      wrong('tenant ' .. name .. ': in vt with ' .. t[SCORE] .. ', should be ' .. score, function() t[RECHECK] = true end)
    end
  end

  local function entry_of(name, lane, entry, id)
    local job = id and load_job(base, id)
    local t = tenant(S, name)
    local number = tonumber(match(entry, '^%d+'))
    local here = { [TN] = name, [SL] = lane, [SQ] = number }
    local is_its_own = job and job[SQ] == number and job[SL] == lane and job[TN] == name
    local delivered = pending(here)
    -- Done with, and not yet trimmed.
    if number <= t[SERVED + lane] and not delivered and not (is_its_own and job[ST] <= RUNS) then return end
    local function remove()
      if delivered then drop_entry(t, lane, number) else withdraw_entry(t, lane, number) end
    end
    if not is_its_own then
      wrong('stream: entry ' .. entry .. ' of ' .. name .. ' is not where its job ' .. tostring(id) .. ' says', remove)
    elseif job[ST] == RUNS then
      if not delivered then wrong('stream: ' .. id .. ' runs and its entry is not delivered') end
      holds_lease(id)
      led(id, job)
    elseif job[ST] ~= QUEUED then
      wrong('stream: ' .. id .. ' is ' .. STATUS[job[ST]] .. ' and still has an entry', remove)
    elseif delivered then
      wrong('stream: ' .. id .. ' is queued and its entry was delivered')
    else
      if number <= t[SERVED + lane] then wrong('stream: ' .. id .. ' is queued as ' .. number .. ', and ' .. t[SERVED + lane] .. ' was served') end
      led(id, job)
    end
  end

  -- How many jobs of each tenant wait for a time, read once a call; of more than BUDGET nothing is said.
  local delays
  local function delays_of(name)
    if not delays then
      delays = {}
      if call('ZCARD', base .. ':due') <= BUDGET then
        for _, id in ipairs(call('ZRANGE', base .. ':due', 0, -1)) do
          local job = load_job(base, id)
          if job then delays[job[TN]] = (delays[job[TN]] or 0) + 1 end
        end
      end
    end
    return delays[name] or 0
  end

  -- Live jobs of a tenant, by what streams, counts and `due` say.
  local function to_be_found(name)
    local t = tenant(S, name)
    local found = t[RUNNING] + t[FOLLOWING] + delays_of(name)
    for lane = 1, 4 do found = found + min(waiting(t, lane), call('XLEN', stream_key(base, name, lane))) end
    return found
  end

  -- Live jobs that are nowhere, after all that the lists name were looked at: their records are gone. Put right only if
  -- that was in this call (`at_once`): jobs that lost their place since an earlier page are still there.
  local function lost(name, at_once)
    local t, found = tenant(S, name), to_be_found(name)
    if call('ZCARD', base .. ':due') <= BUDGET and found < t[LIVE] then
      wrong('tenant ' .. name .. ': ' .. t[LIVE] .. ' live jobs, and only ' .. found .. ' are anywhere', at_once and function()
        count(S, 'failed', t[LIVE] - found)
        t[LIVE] = found
      end)
    end
  end

  -- Whether the job whose render this one waits for knows that.
  local function follows(name, id, job)
    local leader = short_id(job[WK])
    local other = load_job(base, leader)
    if other and other[ST] <= RUNS and has(other, LEADS) and call('LPOS', followers_key(base, leader), id) then return end
    wrong('followers: ' .. id .. ' waits for ' .. leader .. ', which does not know it', function()
      local t = tenant(S, name)
      t[FOLLOWING] = t[FOLLOWING] - 1
      count(S, 'following', -1)
      clear_flag(job, FOLLOWS)
      job[WK], job[SL] = NO_ID, job[LN] + 2
      job[SQ] = push(S, t, job[SL], id)
      put_job(job)
    end)
  end

  -- A job of a tenant's list.
  local function listed(name, id)
    local job = load_job(base, id)
    if not job or job[ST] > RUNS then return end
    if has(job, FOLLOWS) then
      follows(name, id, job)
    elseif job[ST] == RUNS then
      holds_lease(id)
    elseif job[SQ] == 0 then
      if not call('ZSCORE', base .. ':due', id) then
        wrong('due: ' .. id .. ' waits for a time and is not there', function()
          call('ZADD', base .. ':due', int(job[NB]), id)
          delays = nil
        end)
      end
    else
      local entry = int(job[SQ]) .. '-0'
      if #call('XRANGE', stream_key(base, name, job[SL]), entry, entry) == 0 then
        wrong('stream: ' .. id .. ' is queued and has no entry', function()
          job[SQ] = push(S, tenant(S, name), job[SL], id)
          put_job(job)
        end)
      end
    end
  end

  -- Walks on from the cursor, `<part> <place> [<stream entry, or place in a list>]`.
  local part, at, after = match(cursor, '^(%a+) (%d+) ?(.*)$')
  part, at = part or 'totals', tonumber(at) or 0
  -- The tenant whose lists this call has gone through from their first entry on.
  local begun
  local zsets = { lease = { leased, 'due' }, due = { delayed, 'dl' }, dl = { dated, 'tenants' }, tenants = { of_tenant, 'q' } }
  while looked < BUDGET do
    if part == 'totals' then
      totals()
      part, at = 'lease', 0
    elseif part == 'q' then
      -- Each tenant has four streams: `at` counts them through.
      local name = call('ZRANGE', base .. ':tns', floor(at / 4), floor(at / 4))[1]
      if name then
        local lane, room = at % 4 + 1, BUDGET - looked
        local start = (after and after ~= '') and '(' .. after or '-'
        local entries = call('XRANGE', stream_key(base, name, lane), start, '+', 'COUNT', room)
        for _, pair in ipairs(entries) do entry_of(name, lane, pair[1], pair[2][2]) end
        looked = looked + max(1, #entries)
        if #entries == room then after = entries[#entries][1] else at, after = at + 1, '' end
      else
        part, at, after = 'jobs', 0, ''
      end
    elseif part == 'jobs' then
      -- Each tenant has a list for each day on which what is in it may live, today's first.
      local days = ceil((max(shard(S)[KEEP_OK], shard(S)[KEEP_OTHER]) + LISTED_BEYOND_S) * 1000 / DAY_MS) + 1
      local name = call('ZRANGE', base .. ':tns', floor(at / days), floor(at / days))[1]
      if not name then return '', looked, found end
      local t = tenant(S, name)
      if at % days == 0 and after == '' and t[FOLLOWING] == 0 and to_be_found(name) >= t[LIVE] then
        looked, at = looked + 1, at + days
      else
        if at % days == 0 and after == '' then begun = name end
        local room, from = BUDGET - looked, tonumber(after) or 0
        local ids = call('LRANGE', list_key(base, name, S.now - at % days * DAY_MS), int(from), int(from + room - 1))
        for i = 1, #ids do listed(name, ids[i]) end
        looked = looked + max(1, #ids)
        if #ids == room then after = int(from + room) else at, after = at + 1, '' end
        if at % days == 0 and after == '' then lost(name, begun == name) end
      end
    else
      local each, following = zsets[part][1], zsets[part][2]
      local key, room = base .. (part == 'tenants' and ':tns' or ':' .. part), BUDGET - looked
      local size, names = call('ZCARD', key), call('ZRANGE', key, at, at + room - 1)
      for _, name in ipairs(names) do each(name) end
      looked = looked + #names
      -- What a repair took out no longer stands before the next page.
      if #names == room then at = at + room - size + call('ZCARD', key) else part, at = following, 0 end
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
