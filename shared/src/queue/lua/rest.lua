-- rest: a tenant that was quiet for ACTIVE_MS and has no job leaves nothing behind but its quotas.
-- Not a transition of its own: part of renew, a few tenants each time. So the streams, states and
-- indices that Redis holds are those of tenants that were active lately or have work.

local function rest(S, limit)
  local base, now = S.base, S.now
  local due = redis.call('ZRANGEBYSCORE', base .. ':rest', '-inf', S.stamp, 'LIMIT', '0', int(limit))
  -- What this call has done to them so far must be written before it is cleared away.
  if #due > 0 then flush(S) end
  for _, name in ipairs(due) do
    local t = tenant(S, name)
    local a = t.a
    local again
    if a[NOTED] + ACTIVE_MS > now then
      again = a[NOTED] + ACTIVE_MS
    elseif a[LIVE] > 0 then
      again = now + ACTIVE_MS
    elseif metered(S, t) > 0 or a[TAT_MINUTE] > now or a[TAT_DAY] > now then
      -- Its use of today's quotas must not be forgotten.
      again = now + 6 * ACTIVE_MS
    end
    if again then
      redis.call('ZADD', base .. ':rest', int(again), name)
    else
      redis.call('ZREM', base .. ':rest', name)
      for lane = 1, 4 do redis.call('DEL', stream_key(base, name, lane)) end
      local quotas, paused = a[QUOTAS], a[PAUSED]
      if quotas == 0 and paused == 0 then
        redis.call('DEL', tenant_key(base, name))
        redis.call('ZREM', base .. ':tns', name)
        S.tenants[name] = nil
        for i = #S.list, 1, -1 do if S.list[i] == t then table.remove(S.list, i) end end
      else
        t.a = new_state()
        t.a[QUOTAS], t.a[PAUSED], t.a[ESTIMATE], t.a[NOTED] = quotas, paused, a[ESTIMATE], a[NOTED]
      end
    end
  end
end
