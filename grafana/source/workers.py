"""C. Slots, renders, sandboxes: where the time goes and what breaks."""

from .model import (Dashboard, Panel, Row, Target, fleet, graph, heatmap, mean, quantile, raw_heatmap, sel,
                    table, total)
from .names import MEMORY_LIMIT_BYTES

BUSY = f"sum by (instance) ({sel('manimq_worker_slots', state='busy')})"
READY = f"sum by (instance) ({sel('manimq_worker_slots', state='idle|busy|draining')})"
HEARTBEAT = sel("manimq_worker_heartbeat_timestamp_seconds")
DRAINING = sel("manimq_worker_draining_timestamp_seconds")
CACHE = "manimq_latex_cache_requests_total"


def memory() -> Panel:
    panel = heatmap("Peak memory", f"Largest resident memory of each attempt. The usual limit is "
                    f"{MEMORY_LIMIT_BYTES // 2**30} GiB; what comes near it needs a larger one or a simpler scene.",
                    "bytes", "manimq_sandbox_peak_memory_bytes")
    panel.targets.append(Target(quantile(0.99, "manimq_sandbox_peak_memory_bytes"), "p99"))
    return panel


workers = Dashboard(
    uid="manimq-workers",
    title="manimq / Workers and sandboxes",
    description="Slots, renders, sandboxes: where the time goes and what breaks.",
    tags=("workers",),
    rows=[
        Row("Slots", [
            graph("Slots by state and worker", "Quarantined: the sandbox could not be made; that worker's log says why.",
                  "short", [Target(f"sum by (instance, state) ({sel('manimq_worker_slots')})", "{{instance}} {{state}}")],
                  stack=True, width=7),
            graph("Workers", "Live ones: active, or draining. From Redis, so also those that Prometheus does not find.", "short",
                  [Target(f"max by (state) ({fleet('manimq_fleet_workers')})", "{{state}}")], stack=True, width=5),
            raw_heatmap("Utilisation by worker", "Busy slots over ready ones, a row a worker: dark is busy.", "percentunit",
                        [Target(f"{BUSY} / ({READY} > 0)", "{{instance}}")], width=6),
            table("Heartbeat", "Time since Redis last answered a worker. After 12 s its jobs are given to others.", "s",
                  [("Age", f"time() - max by (instance, worker) ({HEARTBEAT})")], sort="Age", width=6),
        ]),
        Row("Renders", [
            heatmap("Render duration", "From claim to settlement, of attempts that succeeded.", "s",
                    "manimq_job_duration_seconds", lane="$lane"),
            graph("Render duration by quality", "p50 and p95, from claim to settlement.", "s", [
                Target(quantile(q, "manimq_job_duration_seconds", "quality", lane="$lane"), f"{{{{quality}}}} {name}")
                for q, name in ((0.5, "p50"), (0.95, "p95"))]),
            graph("Stages, mean", "Where the time of an attempt goes.", "s",
                  [Target(mean("manimq_stage_duration_seconds", "stage"), "{{stage}}")], stack=True),
            graph("Stages, p95", "One attempt in twenty spends longer in the stage.", "s",
                  [Target(quantile(0.95, "manimq_stage_duration_seconds", "stage"), "{{stage}}")]),
            graph("Frames per second and busy slot", "Frames drawn, by how many slots were at work.", "none",
                  [Target(f"{total('manimq_frames_rendered_total')} / (sum({BUSY}) > 0)", "frames")]),
            graph("Seconds per second of film", "Below 1 a film is rendered faster than it plays.", "none",
                  [Target(quantile(0.5, "manimq_realtime_ratio", "quality"), "{{quality}}")], line=1),
        ]),
        Row("What renders use", [
            memory(),
            graph("Processor time by quality", "Cores at work for renders, LaTeX not included.", "none",
                  [Target(total("manimq_sandbox_cpu_seconds_total", "quality"), "{{quality}}")], stack=True),
            graph("Output", "Bytes of artifacts stored per second, by format.", "Bps",
                  [Target(total("manimq_output_bytes_total", "format"), "{{format}}")], stack=True),
        ]),
        Row("Sandboxes", [
            graph("Sandbox start", "Until a new sandbox has proved that it can render; Manim's import is most of it.", "s", [
                Target(quantile(q, "manimq_sandbox_start_duration_seconds"), name) for q, name in ((0.5, "p50"), (0.99, "p99"))]),
            graph("Sandboxes replaced, per hour", "lost: broke under a job. reset: could not be made clean. start: could not "
                  "be started.", "short", [
                      Target("3600 * " + total("manimq_sandbox_recycles_total", "cause"), "{{cause}}")], stack=True),
            graph("Denials, per hour", "Renders that ended because the scene tried what the sandbox denies. Network and "
                  "escape are somebody trying.", "short",
                  [Target("3600 * " + total("manimq_sandbox_denials_total", "kind"), "{{kind}}")], stack=True),
            graph("LaTeX run, p95", "One run for each formula or group of formulas that was not known.", "s",
                  [Target(quantile(0.95, "manimq_latex_compile_duration_seconds"), "p95"),
                   Target(mean("manimq_latex_compile_duration_seconds"), "mean")]),
            graph("Formulas known from earlier", "Part of the formulas that needed no LaTeX run.", "percentunit",
                  [Target(f"{total(CACHE, result='hit')} / ({total(CACHE)} > 0)", "hits")], maximum=1),
            graph("Draining", "Slots that finish what runs and take nothing new, and their workers: they stop, or an operator "
                  "drains them.", "short", [
                      Target(f"max({fleet('manimq_fleet_slots', state='draining')})", "slots"),
                      Target(f"max({fleet('manimq_fleet_workers', state='draining')})", "workers")], width=4),
            table("Draining for", "Since when a worker takes nothing new. Longer than a render may take: stuck, or forgotten; "
                  "`manimq admin drain --all --undo`.", "s",
                  [("For", f"time() - max by (instance) ({DRAINING} > 0)")], sort="For", width=4),
        ]),
    ],
)
