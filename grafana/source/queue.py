"""B. Who waits, for how long, and why; whether everybody gets a fair part."""

from .model import (GREEN, ORANGE, RED, Dashboard, Row, Target, ended, fleet, graph, heatmap, jobs, quantile, shared,
                    stat, steps, table, total)
from .names import PICKUP_TARGET_S

ENDED = ended(lane="!canary")
WAITING = fleet("manimq_tenant_jobs_waiting")
RUNNING = fleet("manimq_tenant_jobs_running")


def redis(metric: str, **labels: str) -> str:
    """A number of the Redis exporter; it has no instance in common with our programs."""
    return fleet(metric, **labels)


queue = Dashboard(
    uid="manimq-queue",
    title="manimq / Queue and fairness",
    description="Who waits, for how long, why, and whether everybody gets a fair part.",
    tags=("queue",),
    rows=[
        Row("Now", [
            stat("Waiting", "Jobs that could start if a slot were free.", "short",
                 [Target(jobs(state="waiting", lane="$lane"))]),
            stat("Running", "Jobs that a worker holds a lease on.", "short", [Target(jobs(state="running", lane="$lane"))]),
            stat("Delayed", "Jobs that wait for a time: between two attempts, or as asked for.", "short",
                 [Target(jobs(state="delayed", lane="$lane"))]),
            stat("Time to drain", "The backlog over the present rate of ended jobs. Nothing while none end.", "s",
                 [Target(f"{jobs(state='waiting')} / ({ENDED} > 0)")],
                 steps((None, GREEN), (600, ORANGE), (3600, RED)), no_value="none end"),
            stat("Paused", "How much an operator has paused: everything, or lanes. `manimq admin resume` undoes it.", "short",
                 [Target(f"sum(max by (scope) ({fleet('manimq_queue_paused')}))")], steps((None, GREEN), (1, ORANGE))),
            stat("Dead letters", "Jobs kept that failed for good by no fault of their author: `manimq admin dead list`.",
                 "short", [Target(f"max({fleet('manimq_dead_letter_jobs')})")], steps((None, GREEN), (1, ORANGE))),
        ]),
        Row("Those who wait", [
            graph("Waiting by lane", "Returned: again after a lost attempt; it goes first.", "short",
                  [Target(jobs("lane", state="waiting", lane="$lane"), "{{lane}}")], stack=True),
            graph("Oldest by lane", "How long the oldest job of each lane has waited that waits for nothing but a slot: what is paused, or "
                  "at its tenant's own limit, does not count.", "s",
                  [Target(f"max by (lane) ({fleet('manimq_queue_oldest_age_seconds', lane='$lane')})", "{{lane}}")],
                  line=PICKUP_TARGET_S),
            heatmap("Pick-up", "From submit to claim, all lanes chosen. Two bands are two kinds of tenants: those within "
                    "their part, and those that flood.", "s", "manimq_pickup_duration_seconds", lane="$lane"),
            graph("Pick-up by lane", "Half of the jobs wait less than the p50, one in a hundred more than the p99.", "s", [
                Target(quantile(q, "manimq_pickup_duration_seconds", "lane", lane="$lane"), f"{{{{lane}}}} {name}")
                for q, name in ((0.5, "p50"), (0.99, "p99"))]),
            graph("Arrivals and service, per second", "Accepted submits that want a render of their own, and jobs that ended; canaries are in neither. "
                  "While arrivals stay above service the backlog grows.", "cps", [
                      Target(f"clamp_min({total('manimq_jobs_submitted_total')} - ({shared()} or vector(0)), 0)", "arrivals"),
                      Target(ENDED, "service")]),
            graph("Delayed and following", "Delayed: for a time. Following: jobs that wait for the same work of another "
                  "job.", "short", [
                      Target(jobs("state", state="delayed|following", lane="$lane"), "{{state}}")], stack=True),
        ]),
        Row("Trouble", [
            graph("Redelivered, per minute", "Jobs that went back to the queue. lost_worker: a lease ran out. failed: tried "
                  "again after a fault of ours. released: given back by a worker that drains, not counted.", "cpm",
                  [Target(f"60 * max by (reason) (rate({fleet('manimq_jobs_redelivered_total')}[$__rate_interval]))",
                          "{{reason}}")], stack=True, width=6),
            graph("Leases lost, per minute", "As workers saw it: an attempt that was no longer theirs.", "cpm",
                  [Target("60 * " + total("manimq_leases_lost_total", "reason"), "{{reason}}")], stack=True, width=6),
            graph("Dead letters by class", "Jobs that failed for good by our fault, in the last hour.", "short",
                  [Target(f"max by (class) (increase({fleet('manimq_dead_letters_total')}[1h]))", "{{class}}")], stack=True, width=6),
            graph("Cancelled, per minute", "Jobs that ended because somebody asked for it.", "cpm",
                  [Target("60 * " + ended("lane", status="canceled", lane="$lane"), "{{lane}}")], stack=True, width=6),
            graph("Cancel: from the request to the end", "Of jobs that ran. Its render is dead by then. Seconds: a worker "
                  "that does not hear Redis; a quarter of a minute: one that did not stop, over whose head it was done.", "s", [
                      Target(quantile(q, "manimq_cancel_duration_seconds"), name) for q, name in ((0.5, "p50"), (0.99, "p99"))], width=6),
            graph("Work that was shared", "Part of accepted submits that needed no render of their own: a kept result "
                  "answered (cache), or another's render on its way (coalesced).", "percentunit",
                  [Target(f"max by (mode) (rate({fleet('manimq_jobs_deduplicated_total')}[$__rate_interval]))"
                          f" / scalar({total('manimq_jobs_submitted_total')} > 0)", "{{mode}}")], stack=True, maximum=1, width=6),
            graph("Repairs of the queue", "Places where it contradicted itself and was put right, in the last hour. Anything but 0 is a bug, or "
                  "somebody wrote to its keys: the API's log says what it was.", "short",
                  [Target(f"max(increase({fleet('manimq_queue_repairs_total')}[1h]))", "repairs")], width=6),
            graph("Tenants with waiting jobs", "Eligible: may start. Over: hold more than their part while others wait. "
                  "Held: their lanes are paused. Gate: today's render time is used up.", "short",
                  [Target(f"max by (state) ({fleet('manimq_queue_tenants')})", "{{state}}")], stack=True, width=6),
        ]),
        Row("Who gets what", [
            table("Tenants", "Those with most jobs, or those that the operator listed; all others together are `other`.",
                  "short", [("Waiting", f"max by (tenant) ({WAITING})"), ("Running", f"max by (tenant) ({RUNNING})")],
                  sort="Waiting", width=6),
            graph("Share of running jobs", "Whose jobs hold the slots. While all have work, by weight.", "percentunit",
                  [Target(f"max by (tenant) ({RUNNING}) / scalar(sum(max by (tenant) ({RUNNING})) > 0)", "{{tenant}}")],
                  stack=True, maximum=1, width=6),
            graph("Waiting by tenant", "Whose jobs make the backlog.", "short",
                  [Target(f"max by (tenant) ({WAITING})", "{{tenant}}")], stack=True, width=6),
            graph("Failures by tenant, per minute", "Whose jobs fail, by faults of theirs and of ours; Tenant says of one by what.",
                  "cpm", [Target("60 * " + total("manimq_tenant_jobs_finished_total", "tenant", status="failed"), "{{tenant}}")],
                  stack=True, width=6),
        ]),
        Row("The same seen by Redis itself", [
            graph("Running: ours and Redis'", "Our gauge, the leases and the pending entries of the streams must agree, save "
                  "for moments. If they do not: `manimq admin audit`.", "short", [
                      Target(jobs(state="running"), "our gauge"),
                      Target(f"sum({redis('redis_key_size', key='.+:lease')})", "leases"),
                      Target(f"sum({redis('redis_stream_group_messages_pending', stream='.+:q.')})", "pending entries")]),
            graph("Delayed: ours and Redis'", "Our gauge beside the list of jobs that wait for a time.", "short", [
                Target(jobs(state="delayed"), "our gauge"),
                Target(f"sum({redis('redis_key_size', key='.+:due')})", "due")]),
            graph("Stream entries", "Entries of all tenants' streams: waiting and running jobs, and up to sixteen each that "
                  "are done with.", "short", [
                      Target(f"sum({redis('redis_stream_length', stream='.+:q.')})", "entries"),
                      Target(f"{jobs(state='waiting|running')}", "waiting and running")]),
        ]),
    ],
)
