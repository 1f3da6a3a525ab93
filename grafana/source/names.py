"""What dashboards and rules must agree about; a test compares the rules with these."""

# Failure classes that are our fault (FailureClass::is_ours).
OURS = "lost_worker|sandbox_unavailable|storage|internal"
# The part of jobs that must neither fail by our fault nor be picked up late.
SLO = 0.99
# Late is what waited longer, in seconds; a bucket's bound of manimq_pickup_duration_seconds.
PICKUP_TARGET_S = 15.0
# Every alert of ours begins like this.
ALERTS = 'ALERTS{alertname=~"Manimq.+"}'
FIRING = 'ALERTS{alertname=~"Manimq.+",alertstate="firing"}'
# The usual limit of a render's memory (RenderLimits).
MEMORY_LIMIT_BYTES = 2 * 2**30
