#!/usr/bin/env python3
"""Submit -> file through manimq, beside the bare `manim render`, in one run.

    deploy/bench/render.py [--server http://127.0.0.1:8080] [--runs 5] [--scenes shapes,formula,graph]

Needs a running manimq (`deploy/up`) with idle slots, on the same machine. Each round renders
every scene once with the command (empty media folder) and once through the service, in turn, so a
drifting machine hits both. Formulas are new in each run, for both, unless --kept-formulas is given. Prints medians and the ratio ours / bare, and what the service adds to
a render: submit -> artifact known to the client, less the render itself as the job reports it.
"""

import argparse
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
QUALITY = {"shapes": "low", "formula": "low", "graph": "medium"}
FLAG = {"low": "-ql", "medium": "-qm", "high": "-qh"}


def call(server: str, path: str, body: dict | None = None, timeout: float = 30.0):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server + path, data=data, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


def through_service(server: str, source: str, quality: str, encoder: str) -> tuple[float, float]:
    """Seconds from submit until the client knows the artifact, and of those the render's own."""
    body = {
        "input": {"kind": "code", "source": source},
        "output": {"quality": quality, "encoder": encoder},
        "cache": "refresh",
    }
    start = time.perf_counter()
    job = call(server, "/v1/jobs", body)
    while job["status"] in ("queued", "running"):
        job = call(server, f"/v1/jobs/{job['id']}?wait=30&since={job['revision']}", timeout=60)
    took = time.perf_counter() - start
    if job["status"] != "succeeded":
        sys.exit(f"error: {job['id']} {job['status']}: {job.get('error')}")
    timings = job["timings"]
    return took, sum(timings[key] for key in ("prepare_s", "render_s", "encode_s"))


def with_new_formulas(source: str) -> str:
    """The scene with formulas that nobody has set before, the same for both sides."""
    number = random.randrange(100, 1000)
    return re.sub(r"(MathTex\(.*?)= ", rf"\g<1>= {number} + ", source)


def bare(path: Path, quality: str) -> float:
    """Seconds of the bare command, empty media folder."""
    with tempfile.TemporaryDirectory() as media:
        start = time.perf_counter()
        subprocess.run(
            [ROOT / ".manimq/python/bin/manim", "render", FLAG[quality], "--silent"]
            + ["--progress_bar", "none", "--media_dir", media, str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scenes", default="shapes,formula,graph")
    parser.add_argument("--encoder", default="fast", choices=["fast", "manim"])
    parser.add_argument("--kept-formulas", action="store_true", help="the same formulas in each run")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    args = parser.parse_args()
    names = args.scenes.split(",")
    rows: dict[str, dict[str, list[float]]] = {n: {"bare": [], "ours": [], "added": []} for n in names}
    folder = tempfile.mkdtemp()
    for _ in range(args.runs):
        for name in names:
            path = Path(folder) / f"{name}.py"
            source = (HERE / "scenes" / f"{name}.py").read_text()
            path.write_text(source if args.kept_formulas else with_new_formulas(source))
            row = rows[name]
            row["bare"].append(bare(path, QUALITY[name]))
            took, render = through_service(args.server, path.read_text(), QUALITY[name], args.encoder)
            row["ours"].append(took)
            row["added"].append(took - render)
    shutil.rmtree(folder)
    added = sorted(value for row in rows.values() for value in row["added"])
    result = {
        "runs": args.runs,
        "encoder": args.encoder,
        "scenes": {
            name: {
                "quality": QUALITY[name],
                "bare_s": statistics.median(row["bare"]),
                "ours_s": statistics.median(row["ours"]),
                "ratio": statistics.median(o / b for o, b in zip(row["ours"], row["bare"])),
            }
            for name, row in rows.items()
        },
        "added_ms_p50": 1000 * statistics.median(added),
        "added_ms_max": 1000 * added[-1],
    }
    if args.json:
        print(json.dumps(result))
        return
    print(f"{'scene':10} {'quality':8} {'bare s':>8} {'ours s':>8} {'ratio':>6}   (medians of {args.runs})")
    for name, row in result["scenes"].items():
        print(f"{name:10} {row['quality']:8} {row['bare_s']:8.2f} {row['ours_s']:8.2f} {row['ratio']:6.2f}")
    print(f"added by the service: median {result['added_ms_p50']:.0f} ms, most {result['added_ms_max']:.0f} ms")


if __name__ == "__main__":
    main()
