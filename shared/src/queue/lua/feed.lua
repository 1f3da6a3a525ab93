-- listen: somebody follows all jobs of a tenant; until when its news are kept.
-- KEYS  1 base of the shard
-- ARGV  1 tenant  2 ms from now
-- Returns  id of the newest entry of the feed. What is told after this call has a greater one.
-- The feed is there exactly as long as somebody listens: whoever comes back and does not find the entry
-- that it saw last has missed something.

transition('listen', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  local t, ms = tenant(S, args[1]), tonumber(args[2])
  local feed = tenant_key(S.base, t[NAME]) .. ':feed'
  -- Emptied, not deleted: a new stream could begin with the very id that somebody saw last.
  if t[FEED] <= S.now then call('XTRIM', feed, 'MAXLEN', '0') end
  t[FEED] = max(t[FEED], S.now + ms)
  note_settings(S, t)
  local last = call('XREVRANGE', feed, '+', '-', 'COUNT', '1')[1]
  local id = last and last[1] or call('XADD', feed, '*', 's', 'open')
  call('PEXPIRE', feed, int(t[FEED] - S.now))
  flush(S)
  return id
end)
