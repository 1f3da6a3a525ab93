#!/usr/bin/env python3
"""What share of a render the layout check takes, over deploy/bench/scenes.

    .manimq/python/bin/python deploy/bench/layout.py

Each scene is rendered by our stream writer in a process of its own, at low and medium quality.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "worker" / "renderer"))

import manim  # noqa: E402
from manim.manager import Manager  # noqa: E402

from manimq_renderer import engine, layout, scene  # noqa: E402
from manimq_renderer.job import LAYOUT_SHARE  # noqa: E402


def render(file: Path, quality: str) -> None:
    """One scene, and a line about it."""
    manim.config.progress_bar, manim.config.verbosity = "none", "ERROR"
    manim.config.quality, manim.config.input_file = quality, str(file)
    engine.install("fast", lambda event: None)
    instance = scene.choose_scene(scene.load_module(str(file), file.read_text()), None)()
    Manager(instance)
    watch = layout.Watch(instance, LAYOUT_SHARE)
    began = time.perf_counter()
    instance.render()
    told = watch.warnings
    took = time.perf_counter() - began
    share = 100 * watch.spent_s / took
    print(f"{file.stem:<8} {quality:<15} {took:6.2f} s  looking {1e3 * watch.spent_s:5.1f} ms = {share:4.2f} %", flush=True)
    for warning in told:
        print(f"    {warning['kind']} at {warning['at_s']} s: {warning['message']}", flush=True)


for file in sorted((HERE / "scenes").glob("*.py")):
    if file.stem == "fairness":
        continue  # draws the figures of another benchmark
    for quality in ("low_quality", "medium_quality"):
        with tempfile.TemporaryDirectory() as folder:
            pid = os.fork()
            if pid == 0:
                try:
                    os.chdir(folder)
                    render(file, quality)
                finally:
                    sys.stdout.flush()
                    os._exit(0)
            os.waitpid(pid, 0)
