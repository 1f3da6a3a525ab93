-- leave: a worker that stops is gone at once, not after its time to live.
-- KEYS  1 base of the shard
-- ARGV  1 worker
-- Returns  1

transition('leave', { 'allow-oom' }, function(keys, args)
  local base, worker = keys[1], args[1]
  redis.call('ZREM', base .. ':wks', worker)
  redis.call('ZREM', base .. ':idle', worker)
  redis.call('DEL', base .. ':wk:' .. worker)
  -- It may have taken a token that it will not act on: pass the baton.
  if redis.call('ZCARD', base .. ':vt') > 0 then ring(base, 1, now_ms()) end
  return 1
end)
