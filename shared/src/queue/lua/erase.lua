-- erase: an ended job -> nothing; its record, events, result and whatever points to it.
-- KEYS  1 base of the shard
-- ARGV  1 id  2 tenant that asks  3 '1' erase it, '0' only tell what would go
-- Returns  {'none'} (no such job of this tenant) | {'active', status} | {'ghost', jobs that wait for its render} |
--          {'erased', result or '', job whose files it shows, other jobs that show them, events}
-- Safe to repeat: the second call finds nothing.
--
-- A job and those that share its render show the same files. They may go when no other job shows them. A
-- submit that is answered by an earlier result comes before this call, and then it counts, or after it, and then
-- it does not find the result any more.

-- Other jobs that show the files that `root` rendered.
local function others_showing(base, root, id)
  local others = 0
  local function look(other)
    if other == id then return end
    if string.byte(call('GETRANGE', job_key(base, other), '1', '1')) == SUCCEEDED then others = others + 1 end
  end
  look(root)
  for _, sharer in ipairs(call('LRANGE', sharers_key(base, root), 0, -1)) do look(sharer) end
  return others
end

transition('erase', { 'allow-oom' }, function(keys, args)
  local base, id = keys[1], args[1]
  local job = load_job(base, id)
  if not job or job[TN] ~= args[2] then return { 'none' } end
  if job[ST] <= RUNS then
    if has(job, GHOST) then return { 'ghost', #followers(base, id, job) } end
    return { 'active', STATUS[job[ST]] }
  end
  local root = has(job, FOLLOWS) and short_id(job[WK]) or id
  local events = has(job, HAS_EVENTS) and call('LLEN', events_key(base, id)) or 0
  local reply = { 'erased', call('GET', result_key(base, id)) or '', root, others_showing(base, root, id), events }
  if args[3] == '1' then
    call('DEL', job[KEY], result_key(base, id), events_key(base, id), base .. ':a' .. id, base .. ':g' .. id)
    if root ~= id then call('LREM', sharers_key(base, root), 1, id) end
    if job[IK] then
      local uq = base .. ':uq:' .. job[TN] .. ':' .. job[IK]
      if match(call('GET', uq) or '', '^%S+') == id then call('DEL', uq) end
    end
    if job[RK] and call('GET', render_key(base, job[TN], job[RK])) == id then call('DEL', render_key(base, job[TN], job[RK])) end
    call('ZREM', tenant_key(base, job[TN]) .. ':dead', id)
    call('ZREM', base .. ':dead', id)
  end
  return reply
end)

-- shown: whether the files that a job rendered still belong to a job: to itself, or to one that shares them.
-- KEYS  1 base of the shard
-- ARGV  1 id
-- Returns  1 | 0. A job that has not ended counts: it may be about to publish.

transition('shown', { 'no-writes' }, function(keys, args)
  local base, id = keys[1], args[1]
  local job = load_job(base, id)
  if job and (job[ST] <= RUNS or job[ST] == SUCCEEDED) then return 1 end
  return others_showing(base, id, id) > 0 and 1 or 0
end)
