-- rest: a tenant that was quiet for ACTIVE_MS and has no job leaves nothing behind but its quotas; the note of a drained
-- worker that was silent for a day goes.
-- Not a transition of its own: part of renew, a few tenants each time. So the streams, states and
-- indices that Redis holds are those of tenants that were active lately or have work.

-- Whether somebody set a quota of this tenant.
local function has_quotas(t)
  for quota = QUEUED_MAX, CODE_MAX do
    if t[quota] ~= (quota == WEIGHT and 0 or -1) then return true end
  end
  return false
end

local function rest(S, most)
  local base, now = S.base, S.now
  call('ZREMRANGEBYSCORE', base .. ':drain', '-inf', int(now - DAY_MS))
  local due = call('ZRANGEBYSCORE', base .. ':rest', '-inf', S.stamp, 'LIMIT', '0', int(most))
  -- What this call has done to them so far must be written before it is cleared away.
  if #due > 0 then flush(S) end
  for _, name in ipairs(due) do
    local t = tenant(S, name)
    local again
    if t[NOTED] + ACTIVE_MS > now then
      again = t[NOTED] + ACTIVE_MS
    elseif t[FEED] > now then
      again = t[FEED]
    elseif t[LIVE] > 0 then
      again = now + ACTIVE_MS
    elseif metered(S, t) > 0 or t[TAT_MINUTE] > now or t[TAT_DAY] > now then
      -- Its use of today's quotas must not be forgotten.
      again = now + 6 * ACTIVE_MS
    end
    if again then
      call('ZADD', base .. ':rest', int(again), name)
    else
      call('ZREM', base .. ':rest', name)
      for lane = 1, 4 do call('DEL', stream_key(base, name, lane)) end
      if t[PAUSED] == 0 and t[HOOKED] == 0 and not has_quotas(t) then
        call('DEL', tenant_key(base, name))
        call('ZREM', base .. ':tns', name)
        S.tenants[name] = nil
        for i = #S.list, 1, -1 do if S.list[i] == t then table.remove(S.list, i) end end
      else
        local fresh = { struct_unpack(STATE, no_state) }
        for field = STATE_FROM, STATE_TO do
          local kept = field >= QUEUED_MAX and field <= CODE_MAX or field == PAUSED or field == ESTIMATE or field == NOTED or field == HOOKED
          if not kept then t[field] = fresh[field - STATE_FROM + 1] end
        end
      end
    end
  end
end
