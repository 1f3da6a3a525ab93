-- survey: what waits and runs in each lane, of a few tenants. Changes nothing.
-- KEYS  1 base of the shard
-- ARGV  1 rank of the first tenant, last active first  2 most tenants to look at
-- Returns  {rank of the next page (0 at the end), now ms, then for each tenant that has jobs: {its name, jobs that run, jobs that
--           follow, then for each lane (returned jobs first): jobs that wait, jobs that run, id of the first that waits or '',
--           1 if nothing but a slot is missing, 0 if it is paused or its tenant is at a limit of its own}}

transition('survey', { 'no-writes' }, function(keys, args)
  local S = open(keys[1])
  local at, most = tonumber(args[1]), min(tonumber(args[2]), BUDGET)
  local names = call('ZREVRANGE', S.base .. ':tns', int(at), int(at + most - 1))
  local reply = { #names == most and at + most or 0, S.stamp }
  for i = 1, #names do
    local t = tenant(S, names[i])
    if t[LIVE] > 0 then
      local admitted = (t[PLACE] == VT or t[PLACE] == OVER) and not all_paused(S)
      local of = { t[NAME], t[RUNNING], t[FOLLOWING] }
      for lane = 1, 4 do
        local stream, waits, runs, first = stream_key(S.base, t[NAME], lane), waiting(t, lane), 0, ''
        if t[RUNNING] > 0 and t[SERVED + lane] > 0 then
          local group = try_call('XPENDING', stream, GROUP)
          runs = not group.err and group[1] or 0
        end
        if waits > 0 then
          local entry = call('XRANGE', stream, int(t[SERVED + lane] + 1) .. '-0', '+', 'COUNT', '1')[1]
          first = entry and entry[2][2] or ''
        end
        local free = admitted and not lane_paused(S, lane)
        of[#of + 1], of[#of + 2], of[#of + 3], of[#of + 4] = waits, runs, first, free and 1 or 0
      end
      reply[#reply + 1] = of
    end
  end
  return reply
end)
