-- What an operator looks at. None of these changes anything.

-- tenants: a page of the tenants that have work, were active lately or have settings of their own.
-- KEYS  1 base of the shard
-- ARGV  1 place to begin at, 0 first  2 most tenants
-- Returns  {place of the next page (0: none), then for each tenant: name, last active ms, not ended, running,
--           ready, waiting for another's render, usual job ms, metered ms of today, paused 0|1,
--           where it is ('' | 'vt' | 'over' | 'held' | 'gate'), dead letters}

transition('tenants', { 'no-writes' }, function(keys, args)
  local S = open(keys[1])
  local at, most = tonumber(args[1]), min(tonumber(args[2]), BUDGET)
  local names = call('ZREVRANGE', S.base .. ':tns', int(at), int(at + most - 1), 'WITHSCORES')
  local reply = { #names == 2 * most and at + most or 0 }
  for i = 1, #names, 2 do
    local t = tenant(S, names[i])
    local ready = 0
    for lane = 1, 4 do ready = ready + waiting(t, lane) end
    reply[#reply + 1] = { t[NAME], names[i + 1], t[LIVE], t[RUNNING], ready, t[FOLLOWING], usual(S, t), metered(S, t), t[PAUSED],
      sub(PLACES[t[PLACE]] or ':', 2), call('ZCARD', tenant_key(S.base, t[NAME]) .. ':dead') }
  end
  return reply
end)

-- jobs: a page of a tenant's jobs that have not ended: those in a lane, delivered (running) or not (ready).
-- KEYS  1 base of the shard
-- ARGV  1 tenant  2 where to begin, '' or what the last page returned  3 most jobs
-- Returns  {where the next page begins ('' at the end), id, id, …}: returned jobs first, then lane by lane,
--          each in the order of claims. Jobs that wait for a time are listed by `delayed`.

transition('jobs', { 'no-writes' }, function(keys, args)
  local base, name, most = keys[1], args[1], min(tonumber(args[3]), BUDGET)
  local lane, after = match(args[2], '^(%d) (.*)$')
  lane, after = tonumber(lane) or 1, after or ''
  local reply = { '' }
  while lane <= 4 do
    local room = most - #reply + 1
    local entries = call('XRANGE', stream_key(base, name, lane), after ~= '' and '(' .. after or '-', '+', 'COUNT', int(room))
    for i = 1, #entries do
      local id = entries[i][2][2]
      -- Entries of jobs that have ended may still be there.
      local status = string.byte(call('GETRANGE', job_key(base, id), '1', '1'))
      if status == QUEUED or status == RUNS then reply[#reply + 1] = id end
    end
    if #entries == room then
      reply[1] = lane .. ' ' .. entries[room][1]
      return reply
    end
    lane, after = lane + 1, ''
  end
  return reply
end)

-- waiting: a page of jobs of all tenants that are under a lease ('lease') or wait for a time ('due'), next first.
-- KEYS  1 base of the shard
-- ARGV  1 'lease' | 'due'  2 place to begin at, 0 first  3 most jobs
-- Returns  {place of the next page (0: none), id, when (ms), id, when, …}

transition('waiting', { 'no-writes' }, function(keys, args)
  local which = args[1] == 'due' and ':due' or ':lease'
  local at, most = tonumber(args[2]), min(tonumber(args[3]), BUDGET)
  local reply = call('ZRANGE', keys[1] .. which, int(at), int(at + most - 1), 'WITHSCORES')
  table.insert(reply, 1, #reply == 2 * most and at + most or 0)
  return reply
end)
