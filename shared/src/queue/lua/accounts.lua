-- Who may ask: tenants as operators keep them, and their API keys. They have a base of their own, `{mq:acc}`,
-- and so one slot for all: a key is found before it is known whose it is. None of these touches a job.
--
-- A key's secret is not here, only its SHA-256. Times are milliseconds; '' is none.

-- Records of keys that are revoked or expired stay so long, for those who look back.
local DEAD_KEY_KEEP_MS = 2592000000
-- Live keys of one tenant, and records of its dead ones beside them.
local KEYS_MAX, KEY_RECORDS_MAX = 50, 200

local function account_key(base, name) return base .. ':t:' .. name end
local function secret_key(base, id) return base .. ':k:' .. id end
local function ring_key(base, name) return base .. ':tk:' .. name end

local function account_fields(base, name)
  return call('HMGET', account_key(base, name), 'name', 'created', 'disabled', 'held')
end

-- A key's fields; tenant, hash, name, scopes, created, expires, revoked, used. The first is false if there is none.
local function key_fields(base, id)
  return call('HMGET', secret_key(base, id), 'tenant', 'hash', 'name', 'scopes', 'created', 'expires', 'revoked', 'used')
end

local function is_live(v, now)
  return v[1] and v[7] == '' and (v[6] == '' or tonumber(v[6]) > now)
end

-- Ids of a tenant's keys that have a record, and how many of them are live; forgets the rest.
local function keys_of(base, name, now)
  local ids, live = {}, 0
  local all = call('SMEMBERS', ring_key(base, name))
  for i = 1, #all do
    local v = key_fields(base, all[i])
    if not v[1] then
      call('SREM', ring_key(base, name), all[i])
    else
      ids[#ids + 1] = { all[i], v }
      if is_live(v, now) then live = live + 1 end
    end
  end
  return ids, live
end

-- Writes a key's record. `expires` is a time, 0 for never.
local function put_key(base, now, id, tenant_name, hash, name, scopes, expires)
  local key, forever = secret_key(base, id), expires == 0
  call('HSET', key, 'tenant', tenant_name, 'hash', hash, 'name', name, 'scopes', scopes, 'created', int(now),
    'expires', forever and '' or int(expires), 'life', forever and '0' or int(expires - now), 'revoked', '', 'used', '')
  if not forever then call('PEXPIRE', key, int(expires - now + DEAD_KEY_KEEP_MS)) end
  call('SADD', ring_key(base, tenant_name), id)
  call('ZADD', base .. ':live', forever and '+inf' or int(expires), id)
  call('ZREMRANGEBYSCORE', base .. ':live', '-inf', int(now))
  call('INCR', base .. ':made')
end

-- Whether a tenant has room for one more key; forgets its dead ones if there are too many records.
local function has_room(base, name, now)
  local ids, live = keys_of(base, name, now)
  if #ids >= KEY_RECORDS_MAX then
    for i = 1, #ids do
      if not is_live(ids[i][2], now) then
        call('DEL', secret_key(base, ids[i][1]))
        call('SREM', ring_key(base, name), ids[i][1])
      end
    end
  end
  return live < KEYS_MAX
end

-- account_create: a tenant, enabled and without keys.
-- KEYS  1 base of the accounts
-- ARGV  1 tenant  2 its name for people
-- Returns  'ok' | 'exists' (nothing written)

transition('account_create', {}, function(keys, args)
  local base, name = keys[1], args[1]
  if call('EXISTS', account_key(base, name)) == 1 then return 'exists' end
  call('HSET', account_key(base, name), 'name', args[2], 'created', int(now_ms(base)), 'disabled', '', 'held', '')
  call('ZADD', base .. ':names', '0', name)
  return 'ok'
end)

-- accounts: tenants in the order of their ids.
-- KEYS  1 base of the accounts
-- ARGV  1 '' or the id after which to begin  2 most tenants  3 '1': only that of ARGV 1
-- Returns  for each {id, name, created, disabled, live keys}

transition('accounts', { 'allow-oom' }, function(keys, args)
  local base, now, reply = keys[1], now_ms(keys[1]), {}
  local names = { args[1] }
  if args[3] ~= '1' then
    local from = args[1] == '' and '-' or '(' .. args[1]
    names = call('ZRANGEBYLEX', base .. ':names', from, '+', 'LIMIT', '0', int(min(tonumber(args[2]), BUDGET)))
  end
  for i = 1, #names do
    local v = account_fields(base, names[i])
    if v[1] then
      local _, live = keys_of(base, names[i], now)
      reply[#reply + 1] = { names[i], v[1], v[2], v[3], int(live) }
    end
  end
  return reply
end)

-- account_able: disables or enables a tenant.
-- KEYS  1 base of the accounts
-- ARGV  1 tenant  2 '1' disable, '0' enable
-- Returns  'changed' | 'same' | 'missing', and when enabling '1' if its jobs were paused by the disabling
-- Disabling notes that it pauses the jobs, which is in another slot: `account_not_held` takes that back if
-- they were paused already.

transition('account_able', { 'allow-oom' }, function(keys, args)
  local base, name = keys[1], args[1]
  local v = account_fields(base, name)
  if not v[1] then return { 'missing', '' } end
  local is, shall = v[3] ~= '', args[2] == '1'
  if is == shall then return { 'same', v[4] } end
  call('HSET', account_key(base, name), 'disabled', shall and int(now_ms(base)) or '', 'held', shall and '1' or '')
  return { 'changed', v[4] }
end)

-- account_not_held: the jobs of a disabled tenant had been paused before.
-- KEYS  1 base of the accounts
-- ARGV  1 tenant
-- Returns  1

transition('account_not_held', { 'allow-oom' }, function(keys, args)
  local key = account_key(keys[1], args[1])
  if call('EXISTS', key) == 1 then call('HSET', key, 'held', '') end
  return 1
end)

-- account_forget: removes a tenant and all its keys.
-- KEYS  1 base of the accounts
-- ARGV  1 tenant
-- Returns  how many keys were removed, -1 if there is no such tenant

transition('account_forget', { 'allow-oom' }, function(keys, args)
  local base, name = keys[1], args[1]
  local ids = call('SMEMBERS', ring_key(base, name))
  for i = 1, #ids do
    call('DEL', secret_key(base, ids[i]))
    call('ZREM', base .. ':live', ids[i])
  end
  call('DEL', ring_key(base, name))
  call('ZREM', base .. ':names', name)
  return call('DEL', account_key(base, name)) == 1 and #ids or -1
end)

-- key_create: a new key of a tenant.
-- KEYS  1 base of the accounts
-- ARGV  1 its id  2 tenant  3 SHA-256 of the key, hex  4 name  5 scopes  6 life in ms, 0 for ever
-- Returns  'ok' | 'missing' (no such tenant) | 'full' | 'taken' (the id)

transition('key_create', {}, function(keys, args)
  local base, now, life = keys[1], now_ms(keys[1]), tonumber(args[6])
  if call('EXISTS', account_key(base, args[2])) == 0 then return 'missing' end
  if call('EXISTS', secret_key(base, args[1])) == 1 then return 'taken' end
  if not has_room(base, args[2], now) then return 'full' end
  put_key(base, now, args[1], args[2], args[3], args[4], args[5], life == 0 and 0 or now + life)
  return 'ok'
end)

-- key_rotate: a second key like the first, which ends after a while.
-- KEYS  1 base of the accounts
-- ARGV  1 id of the old key  2 id of the new one  3 its SHA-256, hex  4 for how long both live, ms
--       5 life of the new key, ms, 0 for what the old one was made for
-- Returns  'ok' | 'missing' (no such key) | 'dead' (the old key is) | 'full' | 'taken' (the new id)
-- The old key never lives longer than it would have.

transition('key_rotate', {}, function(keys, args)
  local base, now, life = keys[1], now_ms(keys[1]), tonumber(args[5])
  local v = key_fields(base, args[1])
  if not v[1] then return 'missing' end
  if not is_live(v, now) then return 'dead' end
  if call('EXISTS', secret_key(base, args[2])) == 1 then return 'taken' end
  if not has_room(base, v[1], now) then return 'full' end
  if life == 0 then
    -- A record of an older version does not tell it; its end may have been moved by a rotation since.
    local made_for = call('HGET', secret_key(base, args[1]), 'life')
    life = tonumber(made_for) or (v[6] ~= '' and tonumber(v[6]) - tonumber(v[5])) or 0
  end
  put_key(base, now, args[2], v[1], args[3], v[3], v[4], life == 0 and 0 or now + life)
  local ends = now + tonumber(args[4])
  if v[6] ~= '' then ends = min(ends, tonumber(v[6])) end
  call('HSET', secret_key(base, args[1]), 'expires', int(ends))
  call('PEXPIRE', secret_key(base, args[1]), int(ends - now + DEAD_KEY_KEEP_MS))
  call('ZADD', base .. ':live', int(ends), args[1])
  return 'ok'
end)

-- key_revoke: ends a key at once.
-- KEYS  1 base of the accounts
-- ARGV  1 its id
-- Returns  'ok' | 'same' (it was revoked) | 'missing'

transition('key_revoke', { 'allow-oom' }, function(keys, args)
  local base, now = keys[1], now_ms(keys[1])
  local v = key_fields(base, args[1])
  if not v[1] then return 'missing' end
  call('ZREM', base .. ':live', args[1])
  if v[7] ~= '' then return 'same' end
  call('HSET', secret_key(base, args[1]), 'revoked', int(now))
  call('PEXPIRE', secret_key(base, args[1]), int(DEAD_KEY_KEEP_MS))
  return 'ok'
end)

-- keys: the keys of a tenant, or one key.
-- KEYS  1 base of the accounts
-- ARGV  1 tenant, '' for  2 one id
-- Returns  for each {id, tenant, name, scopes, created, expires, revoked, used, 1 if it is live}; never a hash

transition('keys', { 'allow-oom' }, function(keys, args)
  local base, now, reply = keys[1], now_ms(keys[1]), {}
  local found
  if args[1] ~= '' then
    found = keys_of(base, args[1], now)
  else
    local v = key_fields(base, args[2])
    found = v[1] and { { args[2], v } } or {}
  end
  for i = 1, #found do
    local id, v = found[i][1], found[i][2]
    reply[i] = { id, v[1], v[3], v[4], v[5], v[6], v[7], v[8], is_live(v, now) and '1' or '0' }
  end
  return reply
end)

-- key_read: what an API process must know of a key that somebody shows. One read, whatever it finds.
-- KEYS  1 base of the accounts
-- ARGV  1 id of the key
-- Returns  {} if there is none, else {tenant, hash, scopes, 'live' | 'expired' | 'revoked', ms until it
--          expires ('' never), '1' if the tenant is disabled, '1' if its last use should be noted}

transition('key_read', { 'no-writes' }, function(keys, args)
  local base, now = keys[1], now_ms(keys[1])
  local v = key_fields(base, args[1])
  if not v[1] then return {} end
  local t = account_fields(base, v[1])
  local state = v[7] ~= '' and 'revoked' or is_live(v, now) and 'live' or 'expired'
  local used = v[8] == '' or tonumber(v[8]) + MINUTE_MS < now
  -- A tenant that is gone has no keys: one that is left over opens nothing.
  if not t[1] then state = 'revoked' end
  return { v[1], v[2], v[4], state, v[6] == '' and '' or int(max(0, tonumber(v[6]) - now)), t[3] ~= '' and '1' or '0',
    used and '1' or '0' }
end)

-- key_used: notes that a key was used just now.
-- KEYS  1 base of the accounts
-- ARGV  1 its id
-- Returns  1

transition('key_used', {}, function(keys, args)
  local key = secret_key(keys[1], args[1])
  if call('EXISTS', key) == 1 then call('HSET', key, 'used', int(now_ms(keys[1]))) end
  return 1
end)

-- doors: whether keys are what one needs here.
-- KEYS  1 base of the accounts
-- Returns  {keys ever made, keys that are live now}

transition('doors', { 'no-writes' }, function(keys, args)
  local base = keys[1]
  local made = tonumber(call('GET', base .. ':made') or '0')
  return { int(made), int(call('ZCOUNT', base .. ':live', '(' .. int(now_ms(base)), '+inf')) }
end)
