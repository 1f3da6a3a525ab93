#!/usr/bin/env python3
"""`manimq render` beside the bare `manim render`, in one run.

    deploy/bench/render.py [--server http://127.0.0.1:8080] [--runs 5] [--scenes shapes:low,lesson:high]

Both are timed from the start of the command until it has ended and the film is in its folder.
Needs a running manimq (`deploy/up`) with idle slots, on the same machine. Each round renders
every scene once with the command (empty media folder) and once through the service, in turn, so a
drifting machine hits both. Formulas are new in each run, for both, unless --kept-formulas is given.
Prints medians of wall time, processor time and peak memory, the ratio of wall times ours / bare, and
what the service adds to a render: the whole of `manimq render`, its own start and the download too, less the
render itself as the job reports it. Processor time is what the whole machine was busy with until a moment after the end, for both:
Redis, API, guard, LaTeX and encoder are in it, and whatever else runs. Peak memory is that of the process that draws.

Scenes: shapes (small), words (text), formula (LaTeX), surface (3-D), graph, lesson (30 s).
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MANIMQ = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/manimq"
FLAG = {"low": "-ql", "medium": "-qm", "high": "-qh"}
AFTERWARDS_S = 0.3
SCENES = ",".join(f"{name}:{quality}" for quality in ("low", "high") for name in ("shapes", "words", "formula", "surface", "lesson"))


@dataclass(frozen=True)
class Took:
    """One render."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    render_s: float = 0.0
    """Of the wall time, what the scene itself took."""


def busy_s() -> float:
    """What all processors have worked since they were started."""
    fields = Path("/proc/stat").read_text().split(None, 9)[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def busy_since(before_s: float) -> float:
    """With what is still to be done after an answer, such as another sandbox's process."""
    time.sleep(AFTERWARDS_S)
    return busy_s() - before_s


def through_service(args: argparse.Namespace, path: Path, quality: str) -> Took:
    """`manimq render`, empty media folder."""
    with tempfile.TemporaryDirectory() as media:
        before_s, start = busy_s(), time.perf_counter()
        done = subprocess.run(
            [args.manimq, "render", FLAG[quality], "--encoder", args.encoder, "--disable_caching"]
            + ["--server", args.server, "--no-logs", "--json", "--media_dir", media, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        took = time.perf_counter() - start
        if done.returncode != 0:
            sys.exit(f"error: manimq could not render {path.name}: {done.stdout.decode()}")
        job = json.loads(done.stdout)
        assert Path(job["path"]).stat().st_size == job["artifacts"][0]["bytes"], job
        timings, usage = job["timings"], job["usage"]
        render_s = sum(timings[key] for key in ("prepare_s", "render_s", "encode_s"))
        return Took(took, busy_since(before_s), usage["peak_memory_bytes"], render_s)


def with_new_formulas(source: str) -> str:
    """The scene with formulas that nobody has set before, the same for both sides."""
    number = random.randrange(100, 1000)
    return re.sub(r"(MathTex\(.*?)= ", rf"\g<1>= {number} + ", source)


def bare(path: Path, quality: str) -> Took:
    """The bare command, empty media folder."""
    with tempfile.TemporaryDirectory() as media:
        before_s, start = busy_s(), time.perf_counter()
        child = subprocess.Popen(
            [ROOT / ".manimq/python/bin/manim", "render", FLAG[quality], "--silent"]
            + ["--progress_bar", "none", "--media_dir", media, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        took = time.perf_counter() - start
        if status != 0:
            sys.exit(f"error: manim could not render {path.name}")
        return Took(took, busy_since(before_s), usage.ru_maxrss * 1024)


def middle(row: list[Took], key: str) -> float:
    return statistics.median(getattr(took, key) for took in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--manimq", default=MANIMQ, help="the program (target/release/manimq)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scenes", default=SCENES, help="NAME:low|medium|high, separated by commas")
    parser.add_argument("--encoder", default="fast", choices=["fast", "manim"])
    parser.add_argument("--kept-formulas", action="store_true", help="the same formulas in each run")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args()
    if shutil.which(args.manimq) is None:
        parser.error(f"{args.manimq} is not there: run deploy/up, which builds it, or give --manimq")
    rows: dict[str, tuple[list[Took], list[Took]]] = {name: ([], []) for name in args.scenes.split(",")}
    folder = tempfile.mkdtemp()
    for _ in range(args.runs):
        for case, (theirs, ours) in rows.items():
            name, _, quality = case.partition(":")
            path = Path(folder) / f"{name}.py"
            source = (HERE / "scenes" / f"{name}.py").read_text()
            path.write_text(source if args.kept_formulas else with_new_formulas(source))
            theirs.append(bare(path, quality))
            ours.append(through_service(args, path, quality))
    shutil.rmtree(folder)
    added = sorted(took.wall_s - took.render_s for _, ours in rows.values() for took in ours)
    result = {
        "runs": args.runs,
        "encoder": args.encoder,
        "scenes": {
            case: {
                **{f"bare_{key}": middle(theirs, key) for key in ("wall_s", "cpu_s", "memory_bytes")},
                **{f"ours_{key}": middle(ours, key) for key in ("wall_s", "cpu_s", "memory_bytes")},
                "ratio": statistics.median(o.wall_s / b.wall_s for o, b in zip(ours, theirs)),
            }
            for case, (theirs, ours) in rows.items()
        },
        "added_ms_p50": 1000 * statistics.median(added),
        "added_ms_max": 1000 * added[-1],
    }
    if args.json:
        print(json.dumps(result))
        return
    print(f"{'':16} {'wall s':>15} {'':6} {'processor s':>15} {'peak MiB':>11}")
    print(f"{'scene':16} {'bare':>7} {'ours':>7} {'ratio':>6} {'bare':>7} {'ours':>7} {'bare':>5} {'ours':>5}   (medians of {args.runs})")
    for case, row in result["scenes"].items():
        memory = [row[f"{side}_memory_bytes"] / 2**20 for side in ("bare", "ours")]
        print(
            f"{case:16} {row['bare_wall_s']:7.2f} {row['ours_wall_s']:7.2f} {row['ratio']:6.2f} "
            f"{row['bare_cpu_s']:7.2f} {row['ours_cpu_s']:7.2f} {memory[0]:5.0f} {memory[1]:5.0f}"
        )
    print(f"added by the service: median {result['added_ms_p50']:.0f} ms, most {result['added_ms_max']:.0f} ms")


if __name__ == "__main__":
    main()
