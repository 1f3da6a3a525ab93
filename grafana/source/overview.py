"""A. Is it fine? One look for whoever is on call."""

from .model import (GREEN, ORANGE, RED, YELLOW, Dashboard, Row, Target, ended, fleet, graph, jobs, quantile, sel, shared,
                    slots, stat, steps, table, total)
from .names import ALERTS, FIRING, OURS, PICKUP_TARGET_S, SLO

VERDICTS = [{
    "type": "value",
    "options": {
        "0": {"color": RED, "index": 0, "text": "DOWN"},
        "1": {"color": ORANGE, "index": 1, "text": "DEGRADED"},
        "2": {"color": GREEN, "index": 2, "text": "FINE"},
    },
}]
# 0 if no API answers, Redis does not, or jobs wait and there is no slot; 1 if an alert fires; else 2.
VERDICT = (
    f"((max({fleet('manimq_queue_up')}) or vector(0)) > bool 0)"
    f" * ((({slots(state='idle|busy')} or vector(0)) > bool 0) >= bool (({jobs(state='waiting')} or vector(0)) > bool 0))"
    f" * (2 - clamp_max(count({FIRING}) or vector(0), 1))"
)
BUDGET = f"{1 - SLO:.2f}"

overview = Dashboard(
    uid="manimq-overview",
    title="manimq / Overview",
    description="Is the service fine, and if not, which dashboard says more?",
    tags=("overview",),
    rows=[
        Row("Now", [
            stat("Verdict", "DOWN: no API answers, or Redis does not, or jobs wait and there is no slot. DEGRADED: an "
                 "alert fires; the table below says which.", "none",
                 [Target(VERDICT)], steps((None, RED), (1, ORANGE), (2, GREEN)), mappings=VERDICTS),
            stat("Success, 1 h", "Jobs that did not fail by a fault of ours (lost worker, sandbox, storage, internal). "
                 "What scenes did wrong does not count.", "percentunit",
                 [Target("1 - manimq:jobs_failed_ours:ratio_rate1h")], steps((None, RED), (SLO, GREEN)), decimals=2,
                 no_value="no jobs"),
            stat("Success, 30 d", "The same over thirty days, as far as Prometheus keeps data.", "percentunit",
                 [Target("1 - avg_over_time(manimq:jobs_failed_ours:ratio_rate1h[30d])")],
                 steps((None, RED), (SLO, GREEN)), decimals=2, no_value="no jobs"),
            stat("Error budget left, 30 d", "100 %: untouched. 0: failures of ours and slow pick-ups have used up the "
                 f"{1 - SLO:.0%} that the objective allows. Below 0: more than that.", "percentunit",
                 [Target(f"1 - avg_over_time(manimq:slo_bad:ratio_rate1h[30d]) / {BUDGET}")],
                 steps((None, RED), (0.0, ORANGE), (0.25, GREEN)), decimals=1, no_value="no jobs"),
            stat("Canary age", "Time since the tiny job of every minute last went through the whole pipeline.", "s",
                 [Target(f"time() - max({fleet('manimq_canary_last_success_timestamp_seconds')} > 0)")],
                 steps((None, GREEN), (180, ORANGE), (300, RED)), no_value="never, or off"),
            stat("Slots busy", "Busy slots of all that are ready.", "percentunit",
                 [Target(f"{slots(state='busy')} / ({slots(state='idle|busy')} > 0)")],
                 steps((None, GREEN), (0.8, YELLOW), (0.95, ORANGE)), no_value="no slots"),
        ]),
        Row("Promises", [
            graph("Pick-up, p95", f"From submit to claim, by lane. Longer than {PICKUP_TARGET_S:g} s counts against the "
                  "error budget, except in the lane batch.", "s",
                  [Target(quantile(0.95, "manimq_pickup_duration_seconds", "lane", lane="$lane"), "{{lane}}")],
                  line=PICKUP_TARGET_S),
            graph("Submit to done, p95", "What users wait, by quality, of jobs that succeeded: pick-up, render, upload, and "
                  "whatever attempts were lost before.", "s",
                  [Target(quantile(0.95, "manimq_submit_to_done_duration_seconds", "quality", lane="$lane"), "{{quality}}")]),
            graph("Budget burn", "How many times faster than allowed the error budget is used. 14.4 over 1 h and 6 over "
                  "6 h page, 1 over 3 d makes a ticket.", "none",
                  [Target(f"manimq:slo_bad:ratio_rate{over} / {BUDGET}", over) for over in ("1h", "6h", "3d")],
                  line=1),
        ]),
        Row("Work", [
            graph("Jobs in and out, per minute", "Above zero: accepted. Below: ended, by how. out, shared: answered by another job's render "
                  "or its kept result, in all lanes; the others that are out had a render of their own, or were stopped.", "cpm", [
                Target("60 * " + total("manimq_jobs_submitted_total", lane="$lane"), "in"),
                Target("60 * " + ended("status", lane="$lane"), "out, {{status}}"),
                Target("60 * " + shared(), "out, shared"),
            ], mirror="out.*"),
            graph("Backlog", "Jobs that wait, by lane. Returned: again after a lost attempt.", "short",
                  [Target(jobs("lane", state="waiting", lane="$lane"), "{{lane}}")], stack=True),
            graph("Oldest waiting job", "How long the job has waited that waits longest for a slot and for nothing else: what is "
                  "paused, or at its tenant's own limit, does not count. A long backlog of steady age is a "
                  "busy day; a growing age is too few slots.", "s",
                  [Target(f"max by (lane) ({fleet('manimq_queue_oldest_age_seconds', lane='$lane')})", "{{lane}}")]),
            graph("Slots", "Of all live workers. Quarantined: their sandbox could not be made; see Workers.", "short",
                  [Target(f"max by (state) ({fleet('manimq_fleet_slots')})", "{{state}}")], stack=True),
            graph("Failures by class, per minute", f"Ours are {OURS.replace('|', ', ')}; all others are the scene's.", "cpm",
                  [Target("60 * " + ended("class", status="failed", lane="$lane"), "{{class}}")], stack=True),
            graph("Refused by a quota, per minute", "Submits answered with 429, by the rule that refused.", "cpm",
                  [Target("60 * " + total("manimq_quota_rejections_total", "policy"), "{{policy}}")], stack=True),
        ]),
        Row("What to look at", [
            graph("Canary duration", "From the submit of the tiny job of every minute to its film.", "s", [
                Target(f"max({fleet('manimq_canary_duration_seconds')})", "duration")], width=5),
            graph("Canaries, per minute", "Sent by all API processes, by how they ended.", "cpm",
                  [Target("60 * " + total("manimq_canary_runs_total", "result"), "{{result}}")], stack=True, width=5),
            table("Alerts", "What fires or is about to. Each has a section in deploy/RUNBOOK.md.", "none",
                  [("Series", f"count by (alertname, severity, alertstate) ({ALERTS})")], width=9),
            table("Versions", "How many processes run which version.", "none",
                  [("Processes", f"count by (program, version) ({sel('manimq_build_info')})")], width=5),
        ]),
    ],
)
