-- leave: a worker that stops is gone at once, not after its time to live.
-- KEYS  1 base of the shard
-- ARGV  1 worker
-- Returns  1

transition('leave', { 'allow-oom' }, function(keys, args)
  local base, worker = keys[1], args[1]
  redis.call('ZREM', base .. ':wks', worker)
  redis.call('ZREM', base .. ':idle', worker)
  redis.call('DEL', base .. ':wk:' .. worker)
  return 1
end)
