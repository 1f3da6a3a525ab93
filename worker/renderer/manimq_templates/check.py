"""``python -m manimq_templates.check < jobs.jsonl``: renders templates small, and says what came of it.

A line in is ``{"name","template","params","aspect","out"?}``, parameters in their
resolved form; a line out ``{"name","ok","error","seconds","declared","frames","warnings"}``.
Each job runs in a forked child, so none can spoil the next. With ``out`` (a path
without suffix) its last picture goes to OUT.png and a contact sheet to OUT-sheet.png.
Exit status 0 only if all are ok: rendered, and as long as declared within 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import tqdm

tqdm.tqdm.monitor_interval = 0  # a thread, in the way of forks

from . import preload  # noqa: E402
from .rehearsal import rehearse  # noqa: E402

_JOB_S_MAX = 900
"""By the clock, in which others may have most of the machine."""
_JOB_CPU_S_MAX = 180
_LENGTH_WITHIN = 0.05


def main() -> int:
    """Read jobs, print results as they come."""
    parser = argparse.ArgumentParser(prog="manimq_templates.check", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="children at the same time (default 1)")
    parser.add_argument("--lines", type=int, default=144, help="short side of the pictures in pixels (default 144)")
    parser.add_argument("--fps", type=float, default=10, help="pictures per second (default 10)")
    options = parser.parse_args()
    preload()
    all_ok = True
    with tempfile.TemporaryDirectory(prefix="templates-") as folder:
        # Children at the same time have a folder each: TeX runs would read each other's files.
        free = [Path(folder) / str(slot) for slot in range(max(1, options.jobs))]
        running: dict[int, tuple[int, Path, str, float, bytearray]] = {}
        lines = (line for line in sys.stdin if line.strip())
        more = True
        while more or running:
            while more and free:
                line = next(lines, None)
                if line is None:
                    more = False
                    break
                job = json.loads(line)
                media = free.pop()
                sys.stdout.flush()
                reader, pid = _start(job, media, options.lines, options.fps)
                running[reader] = (pid, media, str(job.get("name")), time.monotonic(), bytearray())
            ready, _, _ = select.select(list(running), [], [], 1.0) if running else ([], [], [])
            for reader in ready:
                part = os.read(reader, 65536)
                running[reader][4].extend(part)
                if not part:
                    pid, media, name, _, said = running.pop(reader)
                    os.close(reader)
                    _, status = os.waitpid(pid, 0)
                    all_ok &= _say(name, bytes(said), status)
                    free.append(media)
            for pid, _, _, began, _ in running.values():
                if time.monotonic() - began > _JOB_S_MAX:
                    os.kill(pid, signal.SIGKILL)
    return 0 if all_ok else 1


def _start(job: dict[str, Any], media: Path, lines: int, fps: float) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return reader, pid
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_JOB_CPU_S_MAX, _JOB_CPU_S_MAX))
        os.close(reader)
        os.dup2(2, 1)  # what a scene prints is no result
        with open(writer, "w", encoding="utf-8") as out:
            out.write(json.dumps(_run(job, media, lines, fps)))
    finally:
        os._exit(0)


def _run(job: dict[str, Any], media: Path, lines: int, fps: float) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": job.get("name"), "ok": False, "error": None, "seconds": 0.0, "declared": 0.0, "frames": 0, "warnings": [],
    }  # fmt: skip
    try:
        film = rehearse(job["template"], job["params"], job.get("aspect") or "16:9", lines, fps, media)
        result |= {
            "seconds": round(film.seconds, 3), "declared": round(film.declared, 3), "frames": film.frames,
            "warnings": film.warnings,
        }  # fmt: skip
        if abs(film.seconds - film.declared) > _LENGTH_WITHIN * film.declared:
            result["error"] = f"the film has {film.seconds:.1f} s, declared were {film.declared:.1f} s"
        else:
            result["ok"] = True
        if job.get("out"):
            out = Path(job["out"])
            out.parent.mkdir(parents=True, exist_ok=True)
            film.still().save(f"{out}.png")
            film.contact_sheet().save(f"{out}-sheet.png")
    except BaseException as error:  # noqa: BLE001 - a result, whatever it is
        result["error"] = f"{type(error).__name__}: {error}"[:2000]
        traceback.print_exc(file=sys.stderr)
    return result


def _say(name: str, said: bytes, status: int) -> bool:
    try:
        result = json.loads(said)
    except ValueError:
        how = f"signal {status & 127}" if status & 127 else f"status {status >> 8}"
        result = {
            "name": name, "ok": False, "error": f"the child ended without a result ({how})", "seconds": 0.0,
            "declared": 0.0, "frames": 0, "warnings": [],
        }  # fmt: skip
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return bool(result["ok"])


if __name__ == "__main__":
    sys.exit(main())
