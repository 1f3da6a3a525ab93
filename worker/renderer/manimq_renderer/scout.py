"""The scout: runs the scene ahead of the job to learn how long it is.

Manim knows the number of plays and frames of a scene only when it has run.
The scout runs all of it and draws, encodes and writes nothing. Of a play whose
length is known beforehand it takes only a few steps, with time passing in
larger ones; a wait for a condition it runs frame by frame. So its numbers are
an estimate for scenes that count frames themselves, and it is through long
before the job: stepping through every frame costs 4 to 20 % of a usual render
and far more where updaters are most of the work. It is tenant code like the
job and stands behind the same walls, in namespaces and folders of its own, with
nothing of the job's in reach. All that comes out of it is two numbers, which
the guard believes as far as it can check them, and requests for formulas.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from manim import Scene, config
from manim.manager import Manager
from manim.renderer.cairo_renderer import CairoRenderer

from . import engine, job, walls
from .protocol import JobSpec, Limits

AFTER_S = 0.3
"""Of a job before its scout is started: the shortest are over before it would help."""
MEMORY_BYTES_MAX = 512 * 1024 * 1024
DISK_BYTES_MAX = 64 * 1024 * 1024
_REPORT_EVERY_S = 0.5
_STEPS_MAX = 6
"""Of a play whose length is known beforehand."""


def main(
    spec: JobSpec, fds: job.Descriptors, entropy: bytes, filters: walls.Filters, address_space_bytes: int
) -> None:
    """Body of the forked scout. Never returns."""
    try:
        limits = _limits(spec.limits)
        walls.enter_scout_namespaces(limits)
        job.arrange(fds)
        prepared = walls.prepare_scene()
        os.chdir(walls.JOB_DIR)
        walls.confine_scout(prepared, filters, limits, address_space_bytes)
    except BaseException:  # noqa: BLE001 - a job without scout is a job without totals
        os._exit(job.SETUP_FAILED)
    try:
        _Scout(spec, entropy).run()
    finally:
        os._exit(0)


def _limits(limits: Limits) -> Limits:
    """The job's, but less memory: there is no picture and no encoder."""
    return replace(
        limits,
        memory_bytes=min(limits.memory_bytes, MEMORY_BYTES_MAX),
        output_bytes=min(limits.output_bytes, DISK_BYTES_MAX),
        disk_bytes=min(limits.disk_bytes, DISK_BYTES_MAX),
    )


class _Scout(job.SceneProcess):
    """One pass over the scene."""

    def run(self) -> None:
        """Count, and say what was counted. A scene that fails says nothing."""
        meter = install(self._spec.encoder, self._say)
        instance = self._load()()
        Manager(instance)
        instance.render()
        self._say({"e": "totals", "animations": instance.renderer.num_plays, "frames": meter.frames})


class CountingWriter(engine.ManimWriter):
    """Counts as the job's writer does, and writes nothing."""

    def open_partial_movie_stream(self, **kwargs: Any) -> None:
        pass

    def close_partial_movie_stream(self) -> None:
        pass

    def is_already_cached(self, hash_invocation: str) -> bool:
        # What the job finds in its folder is what it has drawn before.
        return self.output_spec.is_video and (
            str(self.output_plan.segment_path(hash_invocation)) in self._piece_frames
        )

    def write_frame(self, pixels: Any, *, repeat: int = 1) -> None:
        self.meter.add(repeat)

    def save_image(self, pixels: Any) -> None:
        pass

    def finish(self) -> None:
        pass

    def abort_encode_jobs(self, reraise_encoder_failures: bool = False) -> None:
        pass


def install(encoder: str, report: engine.Report) -> engine.Meter:
    """Make every Cairo renderer of this process count instead of draw."""
    meter = engine.Meter(report, _REPORT_EVERY_S)

    def init_scene(self: CairoRenderer, scene: Scene, session_spec: Any, settings: Any) -> None:
        if encoder == "fast" and engine.stream_can(settings):
            config.disable_caching = True  # as in the job: decides which plays run
        self.file_writer = CountingWriter(settings)
        self.file_writer.meter = meter
        self.file_writer.scene = scene

    def update_frame(self: CairoRenderer, *args: Any, **kwargs: Any) -> None:
        pass

    def save_static_frame_data(self: CairoRenderer, *args: Any) -> None:
        self.static_image = None

    def render(self: CairoRenderer, scene: Scene, time: float, moving_mobjects: Any = None) -> None:
        self.add_frame(None)

    def freeze_current_frame(self: CairoRenderer, duration: float) -> None:
        self.add_frame(None, num_frames=int(duration / (1 / self.camera.frame_rate)))

    def scene_finished(self: CairoRenderer, scene: Scene) -> None:
        pass

    every_frame = Scene.get_time_progression

    def get_time_progression(self: Scene, *args: Any, **kwargs: Any) -> Any:
        progression = every_frame(self, *args, **kwargs)
        if self.stop_condition is None and not self.renderer.skip_animations:
            times = list(progression.iterable)
            kept = times[:: -(-len(times) // _STEPS_MAX)] if times else times
            progression.iterable = kept
            self.renderer.add_frame(None, num_frames=len(times) - len(kept))
        return progression

    Scene.get_time_progression = get_time_progression
    for function in (init_scene, update_frame, save_static_frame_data, render, freeze_current_frame, scene_finished):
        setattr(CairoRenderer, function.__name__, function)
    return meter
