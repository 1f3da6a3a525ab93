-- Webhooks: endpoints of tenants, and deliveries to them. News come into `hooks` with the transitions
-- themselves, so none is lost with a process; API processes make the calls.
--
-- An endpoint is a field of `t:<tenant>:hooks` (its settings, JSON) and of `t:<tenant>:hookst` (how it does:
-- '<failing since ms, 0: not> <1 if it is off> <why>'). A delivery is a hash `wd<id>`: t tenant, e endpoint, j job ('' for a test),
-- s event, at ms, n attempts, st pending | delivered | failed, log JSON of its last attempts.

-- Deliveries that an endpoint may have, pending ones among them; the oldest goes. How long each is kept.
local DELIVERIES_MAX, DELIVERY_KEEP_S = 1000, 1209600
-- An endpoint that only failed for so long is switched off.
local FAILING_MAX_MS = 86400000
-- News that one call looks up.
local FAN_OUT = 20

local function endpoint_state(S, name, endpoint)
  local since, off, why = match(call('HGET', tenant_key(S.base, name) .. ':hookst', endpoint) or '', '^(%d+) (%d) (.*)$')
  return tonumber(since) or 0, off == '1', why or ''
end

local function set_endpoint_state(S, name, endpoint, since, off, why)
  local key = tenant_key(S.base, name) .. ':hookst'
  if since == 0 and not off then
    call('HDEL', key, endpoint)
  else
    call('HSET', key, endpoint, int(since) .. ' ' .. (off and '1' or '0') .. ' ' .. why)
  end
end

local function deliveries_key(S, name, endpoint) return tenant_key(S.base, name) .. ':hook:' .. endpoint end

local function forget_delivery(S, id)
  call('DEL', S.base .. ':wd' .. id)
  call('ZREM', S.base .. ':wdue', id)
end

-- A new delivery, due at once.
local function deliver(S, id, name, endpoint, job, event, at)
  local base, key, list = S.base, S.base .. ':wd' .. id, deliveries_key(S, name, endpoint)
  call('HSET', key, 't', name, 'e', endpoint, 'j', job, 's', event, 'at', at, 'n', 0, 'st', 'pending', 'log', '[]')
  call('EXPIRE', key, DELIVERY_KEEP_S)
  if call('LPUSH', list, id) > DELIVERIES_MAX then
    local oldest = call('RPOP', list)
    if call('HGET', base .. ':wd' .. oldest, 'st') == 'pending' then count(S, 'hooks_dropped', 1) end
    forget_delivery(S, oldest)
  end
  call('EXPIRE', list, DELIVERY_KEEP_S)
  call('ZADD', base .. ':wdue', S.stamp, id)
end

-- Makes deliveries of what waits in `hooks`.
local function fan_out(S)
  local base = S.base
  for _, entry in ipairs(call('XRANGE', base .. ':hooks', '-', '+', 'COUNT', FAN_OUT)) do
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    local name = fields.t
    local endpoints = call('HGETALL', tenant_key(base, name) .. ':hooks')
    for i = 1, #endpoints, 2 do
      local endpoint = endpoints[i]
      local wants = fields.e == endpoint
      if not wants and not fields.e then
        local _, off = endpoint_state(S, name, endpoint)
        if not off then
          for _, event in ipairs(cjson.decode(endpoints[i + 1]).events) do wants = wants or event == fields.s end
        end
      end
      if wants then deliver(S, string.gsub(entry[1], '-', '_') .. '_' .. endpoint, name, endpoint, fields.j, fields.s, fields.at) end
    end
    call('XDEL', base .. ':hooks', entry[1])
    if call('HINCRBY', base .. ':hooksn', name, -1) <= 0 then call('HDEL', base .. ':hooksn', name) end
  end
end

-- hook_set: makes, changes or (with an empty text) deletes an endpoint.
-- KEYS  1 base of the shard
-- ARGV  1 tenant  2 endpoint  3 settings (JSON), '' deletes it  4 most endpoints
--       5 revision of the settings that these replace, '' for a new endpoint or whichever is deleted
--       6 '' leaves on or off as it is, '1' switches it on, '0' off
-- Returns  'ok' | 'full' | 'none' | 'stale' (somebody else changed it meanwhile)

transition('hook_set', {}, function(keys, args)
  local S = open(keys[1])
  local t, endpoint, text = tenant(S, args[1]), args[2], args[3]
  local key = tenant_key(S.base, t[NAME]) .. ':hooks'
  local there = call('HGET', key, endpoint)
  if not there and (text == '' or args[5] ~= '') then return 'none' end
  if there and text ~= '' and args[5] ~= int(cjson.decode(there).revision or 0) then return 'stale' end
  if not there and call('HLEN', key) >= tonumber(args[4]) then return 'full' end
  if text == '' then
    call('HDEL', key, endpoint)
    call('HDEL', tenant_key(S.base, t[NAME]) .. ':hookst', endpoint)
    for _, id in ipairs(call('LRANGE', deliveries_key(S, t[NAME], endpoint), 0, -1)) do forget_delivery(S, id) end
    call('DEL', deliveries_key(S, t[NAME], endpoint))
  else
    call('HSET', key, endpoint, text)
    if args[6] == '1' then set_endpoint_state(S, t[NAME], endpoint, 0, false, '') end
    if args[6] == '0' then set_endpoint_state(S, t[NAME], endpoint, 0, true, 'by its owner') end
  end
  t[HOOKED] = call('EXISTS', key)
  note_settings(S, t)
  flush(S)
  return 'ok'
end)

-- hook_send: a delivery that nothing but its owner caused: a test, or an earlier one once more.
-- KEYS  1 base of the shard
-- ARGV  1 tenant  2 endpoint  3 delivery to repeat, '' for a test
-- Returns  id of the delivery (a test's is made by the next `hook_take`), '' if there is no such endpoint or delivery,
--          'off' if the endpoint is switched off, 'full' if too many news of the tenant wait

transition('hook_send', {}, function(keys, args)
  local S = open(keys[1])
  local base, name, endpoint, id = S.base, args[1], args[2], args[3]
  if call('HEXISTS', tenant_key(base, name) .. ':hooks', endpoint) == 0 then return '' end
  if select(2, endpoint_state(S, name, endpoint)) then return 'off' end
  if id == '' then
    if not note_news(S, name) then return 'full' end
    local entry = call('XADD', base .. ':hooks', '*', 't', name, 'j', '', 's', 'webhook.test', 'at', S.stamp, 'e', endpoint)
    id = string.gsub(entry, '-', '_') .. '_' .. endpoint
  else
    local key = base .. ':wd' .. id
    local of = call('HMGET', key, 't', 'e')
    if of[1] ~= name or of[2] ~= endpoint then return '' end
    call('HSET', key, 'st', 'pending')
    call('EXPIRE', key, DELIVERY_KEEP_S)
    call('ZADD', base .. ':wdue', S.stamp, id)
  end
  call('PUBLISH', base .. ':hooks', '')
  flush(S)
  return id
end)

-- hook_take: deliveries that are due, for one that makes the calls; they are due again when the lease is over.
-- KEYS  1 base of the shard
-- ARGV  1 most deliveries  2 lease ms
-- Returns  {ms until the next may be due, then for each: {id, tenant, endpoint, its settings (JSON), job, event, at ms, attempts so far, log}}

transition('hook_take', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, most, again = S.base, min(tonumber(args[1]), BUDGET), int(S.now + tonumber(args[2]))
  fan_out(S)
  local reply = { 0 }
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':wdue', '-inf', S.stamp, 'LIMIT', '0', int(most))) do
    local d = call('HMGET', base .. ':wd' .. id, 't', 'e', 'j', 's', 'at', 'n', 'st', 'log')
    local settings = d[1] and call('HGET', tenant_key(base, d[1]) .. ':hooks', d[2])
    local off = settings and select(2, endpoint_state(S, d[1], d[2]))
    if off then
      call('HSET', base .. ':wd' .. id, 'st', 'failed')
      call('ZREM', base .. ':wdue', id)
    elseif settings and d[7] == 'pending' then
      call('ZADD', base .. ':wdue', again, id)
      reply[#reply + 1] = { id, d[1], d[2], settings, d[3], d[4], d[5], d[6], d[8] }
    else
      call('ZREM', base .. ':wdue', id)
    end
  end
  local wait = 60000
  if call('XLEN', base .. ':hooks') > 0 then wait = 0 end
  local first = call('ZRANGE', base .. ':wdue', '0', '0', 'WITHSCORES')
  if first[2] then wait = min(wait, max(0, tonumber(first[2]) - S.now)) end
  reply[1] = wait
  flush(S)
  return reply
end)

-- hook_settle: what came of an attempt.
-- KEYS  1 base of the shard
-- ARGV  1 delivery  2 attempts before this one  3 'delivered' | 'failed' | 'retry' | 'later' (not tried: the attempt does not count)
--       4 ms until the next attempt  5 log (JSON)  6 why the endpoint is switched off now, '' if it is not
-- Returns  'ok' | 'off' (the endpoint is switched off by this) | 'stale' (another attempt was settled meanwhile; nothing written)

transition('hook_settle', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local base, id, outcome, why = S.base, args[1], args[3], args[6]
  local key = base .. ':wd' .. id
  local d = call('HMGET', key, 't', 'e', 'n', 'st')
  if d[3] ~= args[2] or d[4] ~= 'pending' then return 'stale' end
  local due = int(S.now + tonumber(args[4]))
  if outcome == 'later' then
    call('ZADD', base .. ':wdue', due, id)
    flush(S)
    return 'ok'
  end
  call('HSET', key, 'n', int(tonumber(d[3]) + 1), 'log', args[5], 'st', outcome == 'retry' and 'pending' or outcome)
  if outcome == 'retry' then call('ZADD', base .. ':wdue', due, id) else call('ZREM', base .. ':wdue', id) end
  local since, off, was = endpoint_state(S, d[1], d[2])
  if outcome == 'delivered' then
    if since > 0 then set_endpoint_state(S, d[1], d[2], 0, off, was) end
    count(S, 'hooks_delivered', 1)
  else
    if since == 0 then since = S.now end
    if why == '' and S.now - since >= FAILING_MAX_MS then why = 'every call failed for a day' end
    if off then why = was end
    set_endpoint_state(S, d[1], d[2], since, off or why ~= '', why)
    if outcome == 'failed' then count(S, 'hooks_failed', 1) end
  end
  flush(S)
  return (why ~= '' and not off) and 'off' or 'ok'
end)
