-- leave: a worker that stops is gone at once, not after its time to live.
-- KEYS  1 base of the shard
-- ARGV  1 worker
-- Returns  1

transition('leave', { 'allow-oom' }, function(keys, args)
  local S = open(keys[1])
  forget_worker(S, args[1])
  call('ZREM', S.base .. ':idle', args[1])
  call('ZREM', S.base .. ':drain', args[1])
  call('DEL', S.base .. ':wk:' .. args[1])
  -- It may have taken a token that it will not act on, or be the one that looks at what becomes due: pass the baton.
  S.ring = 1
  flush(S)
  return 1
end)
