-- remind: wakes a parked worker if there is work for which nobody came: whoever took the token may be frozen or cut off.
-- KEYS  1 base of the shard
-- Returns  1 if there is such work, else 0
-- Safe to repeat by anyone at any time: there are never more tokens than parked workers.

transition('remind', { 'allow-oom' }, function(keys)
  local S = open(keys[1])
  local waits = next_due(S, SOON_MS) == 1 or (not all_paused(S) and call('ZCARD', S.base .. ':vt') > 0)
  if waits then S.ring = 1 end
  flush(S)
  return waits and 1 or 0
end)
