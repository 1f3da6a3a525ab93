"""F. One tenant: what Prometheus may know of it, and where the rest is."""

from .model import Dashboard, Panel, Row, Target, ended, fleet, graph, query_variable, quantile, sel, stat, table

WAITING = fleet("manimq_tenant_jobs_waiting", tenant="$tenant")
RUNNING = fleet("manimq_tenant_jobs_running", tenant="$tenant")
REJECTED = sel("manimq_tenant_rejections_total", tenant="$tenant")
USED = f"max by (policy) ({fleet('manimq_tenant_quota_used', tenant='$tenant')})"
LIMIT = f"max by (policy) ({fleet('manimq_tenant_quota_limit', tenant='$tenant')})"
FINISHED = "manimq_tenant_jobs_finished_total"


def per_job(metric: str) -> str:
    """Seconds of a counter for each job that ended."""
    return f"sum by (tenant) (increase({sel(metric)}[$__range])) / (sum by (tenant) (increase({sel(FINISHED)}[$__range])) > 0)"


WHERE = """Tenants are labels of few metrics, and only those with most jobs or those that the operator listed
(`MANIMQ_METRICS_TENANTS`, for API and workers): ten thousand tenants must not make ten thousand series. For any tenant:

```
manimq admin tenants show TENANT      quotas and their use, jobs by state
manimq admin jobs list --tenant TENANT
curl -H 'authorization: Bearer KEY' https://…/v1/usage      the same, as the tenant sees it
```
"""

tenant = Dashboard(
    uid="manimq-tenant",
    title="manimq / Tenant",
    description="One tenant beside all others.",
    tags=("tenant",),
    variables=(
        query_variable("tenant", "Tenant", 'label_values(manimq_tenant_jobs_running{job=~"$job"}, tenant)',
                       "A tenant that has a series of its own.", multi=False),
    ),
    rows=[
        Row("Now", [
            stat("Running", "Jobs of the tenant that hold a slot.", "short", [Target(f"max({RUNNING})")], width=6,
                 no_value="0"),
            stat("Waiting", "Jobs of the tenant that wait for a slot or a time.", "short", [Target(f"max({WAITING})")],
                 width=6, no_value="0"),
            stat("Share of running jobs", "Of all jobs that run now.", "percentunit",
                 [Target(f"max({RUNNING}) / (sum(max by (tenant) ({fleet('manimq_tenant_jobs_running')})) > 0)")], width=6,
                 no_value="nothing runs"),
            stat("Refused in this time", "Submits that a quota refused.", "short",
                 [Target(f"sum(increase({REJECTED}[$__range]))")], width=6, no_value="0"),
        ]),
        Row("Over time", [
            graph("Running and waiting", "A tenant that waits while others run more than their part is starved; one that "
                  "waits while it holds its part has sent much.", "short",
                  [Target(f"max({RUNNING})", "running"), Target(f"max({WAITING})", "waiting")]),
            graph("Share of running and of waiting jobs", "While everybody has work the first goes by weight, whatever the "
                  "second is.", "percentunit", [
                      Target(f"max({RUNNING}) / (sum(max by (tenant) ({fleet('manimq_tenant_jobs_running')})) > 0)",
                             "of running"),
                      Target(f"max({WAITING}) / (sum(max by (tenant) ({fleet('manimq_tenant_jobs_waiting')})) > 0)",
                             "of waiting")], maximum=1),
            graph("Refused by a quota, per minute", "429: too many at once, too many a minute, too much today.", "cpm",
                  [Target(f"60 * sum(rate({REJECTED}[$__rate_interval]))", "refused")]),
        ]),
        Row("Quotas", [
            graph("Used of each quota", "Part of what the tenant may: at 100 % the next submit is refused, and at 100 % of "
                  "running_jobs the next job waits.", "percentunit", [Target(f"{USED} / ({LIMIT} > 0)", "{{policy}}")],
                  maximum=1, width=14),
            table("Quotas now", "In the unit of each: jobs, or seconds of rendering. Told while the tenant has jobs, or always "
                  "if it is listed. `manimq admin tenants set` changes them.",
                  "short", [("Used", USED), ("Limit", LIMIT)], sort="Used", width=10),
        ]),
        Row("What came of its jobs", [
            graph("Ended, per minute", "Jobs of the tenant that workers ended, by how.", "cpm",
                  [Target(f"60 * sum by (status) (rate({sel(FINISHED, tenant='$tenant')}[$__rate_interval]))", "{{status}}")],
                  stack=True),
            graph("Failures by class, per minute", "scene_error, latex_error, timeout and their like are the scene's; "
                  "lost_worker, sandbox_unavailable, storage and internal are ours.", "cpm",
                  [Target(f"60 * sum by (class) (rate({sel(FINISHED, tenant='$tenant', status='failed')}[$__rate_interval]))",
                          "{{class}}")], stack=True),
            table("Jobs in this time", "By how they ended.", "short",
                  [("Jobs", f"sum by (status, class) (increase({sel(FINISHED, tenant='$tenant')}[$__range]))")], sort="Jobs"),
            table("Durations, by tenant", "Means over the chosen time. Slot: of slots, for each job that ended, lost attempts "
                  "included. Submit to end: what its users wait.", "s",
                  [("Slot", per_job("manimq_tenant_slot_seconds_total")),
                   ("Submit to end", per_job("manimq_tenant_submit_to_end_seconds_total"))], sort="Submit to end", width=14),
            stat("Slots it uses", "Mean number of slots at work for the tenant in the chosen time; an attempt counts when it "
                 "has ended.", "none",
                 [Target(f"sum(increase({sel('manimq_tenant_slot_seconds_total', tenant='$tenant')}[$__range])) / $__range_s")],
                 width=10,
                 decimals=2, no_value="0"),
        ]),
        Row("All tenants together, to compare with", [
            graph("Pick-up, p95", "From submit to claim, by lane.", "s",
                  [Target(quantile(0.95, "manimq_pickup_duration_seconds", "lane", lane="$lane"), "{{lane}}")]),
            graph("All failures by class, per minute", "Of all tenants. A class that rises here too is not this tenant's scene.", "cpm",
                  [Target("60 * " + ended("class", status="failed", lane="$lane"), "{{class}}")], stack=True),
            Panel("Where the rest is", "What Prometheus does not know, and how to ask for it.", "none", [], "text", 8, 8,
                  options={"code": {"language": "plaintext", "showLineNumbers": False, "showMiniMap": False},
                           "content": WHERE, "mode": "markdown"}),
        ]),
    ],
)
