"""The job: the only process that runs tenant code, behind all the walls.

Forked from the guard as pid 1 of its own pid namespace, ahead of time: it waits for
what to render, arranges its few descriptors, confines itself, and only then reads the source.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import hashlib
import json
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import manim
import manimq_templates
import numpy as np
from manim import config
from manim.manager import Manager

from . import collect, engine, failure, files, fonts, formulas, gate, hints, layout, linux, scene, tex_client, walls
from .protocol import SECTIONS_MAX, JobSpec, read_line, write_all
from .split import Splitter

SETUP_FAILED = 71
"""Exit status of a job that could not confine itself. Ours only before ``confined`` was said."""

_MEDIA = "./.manimq-media"
"""Manim's own folder, in place of `media`: what comes with a scene may have that name."""
_LAST_WORDS_S = 0.3
LAYOUT_SHARE = 0.07
"""Of the render's time, for looking at what it shows; one look more may be begun within it."""
_RECURSION_MAX = 100_000
"""A hundred times Python's own; more than a scene has a use for."""

# The job's descriptors, and all that it has.
_LOG_OUT, _LOG_ERR, _EVENTS, _REPLIES, _CRASH, _SOURCE = 1, 2, 3, 4, 5, 6
_DOORBELL = 7
"""Until it is confined."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What the guard hands to the job."""

    source: int
    log: int
    events: int
    replies: int
    crash: int
    doorbell: int | None = None
    """Where the guard waits for the gate (``gate.py``); None for a job on one core."""


def main(fds: Descriptors, entropy: bytes, filters: walls.Filters, address_space_bytes: int) -> None:
    """Body of the forked job: waits for its spec, confines itself, renders. Never returns."""
    cores = 1
    try:
        arrange(fds)
        prepared = walls.prepare_scene()
        JobSpec.rehearse()
        line = read_line(_REPLIES)
        if not line:
            os._exit(SETUP_FAILED)  # nobody wants it any more
        spec = JobSpec.parse(line)
        if spec.cores > 1 and fds.doorbell is not None and gate.open_in_job(_DOORBELL):
            filters = walls.Filters(job=gate.allowing_fork(filters.job), tex=b"")
            cores = spec.cores
        os.chdir(walls.JOB_DIR)
        walls.confine_job(prepared, filters, spec.limits, address_space_bytes)
        linux.close_all_from(_SOURCE + 1)
    except BaseException as error:  # noqa: BLE001
        os.write(_LOG_ERR, f"the job could not confine itself: {error!r}\n".encode())
        os._exit(SETUP_FAILED)
    status = 1
    try:
        # Before any tenant code: whatever happens from here on is the scene's doing.
        write_all(_EVENTS, b'{"e": "confined"}\n')
        status = _Job(spec, entropy, cores).run()
    finally:
        os._exit(status)


def _bound_recursion() -> None:
    """Let no scene ask for more: to fill the memory with frames, and to unwind them, takes most of a minute."""
    original = sys.setrecursionlimit
    sys.setrecursionlimit = lambda limit: original(min(limit, _RECURSION_MAX))


def arrange(fds: Descriptors) -> None:
    """Leave a fresh fork with its own descriptors and environment."""
    os.environ.clear()
    os.environ.update(PATH="/usr/bin:/bin", HOME=walls.JOB_DIR, LANG="C.UTF-8", TMPDIR=walls.TMP_DIR)
    null = os.open("/dev/null", os.O_RDONLY)
    wanted = {
        0: null,
        _LOG_OUT: fds.log,
        _LOG_ERR: fds.log,
        _EVENTS: fds.events,
        _REPLIES: fds.replies,
        _CRASH: fds.crash,
        _SOURCE: fds.source,
    }
    if fds.doorbell is not None:
        wanted[_DOORBELL] = fds.doorbell
    # First out of each other's way, then into place.
    parked = {target: os.dup2(fd, 100 + target) for target, fd in wanted.items()}
    for target, fd in parked.items():
        os.dup2(fd, target, inheritable=False)
    linux.close_all_from(len(wanted))


class SceneProcess:
    """What job and scout have in common: the scene, and the pipes to the guard."""

    def __init__(self, spec: JobSpec, entropy: bytes) -> None:
        self._spec = spec
        self._entropy = entropy if spec.chance is None else spec.chance.encode()
        self._path = f"{walls.JOB_DIR}/{spec.file_name}"
        self._splitter = Splitter(1, self._say)

    def _load(self) -> type[manim.Scene]:
        """Everything up to the scene's class, as the command does it."""
        text = files.unpack(_SOURCE, self._spec.files, walls.JOB_DIR).decode()
        os.close(_SOURCE)
        if self._spec.template:
            return self._load_template(json.loads(text))
        with open(self._path, "w", encoding="utf-8") as file:
            file.write(text)
        self._seed()
        self._share_random_numbers()
        _bound_recursion()
        self._configure()
        request = tex_client.install(self._compile_tex, lambda: self._splitter.formulas_of_leader)
        self._splitter.read_source(text)
        sys.argv = ["manim"]
        module = scene.load_module(self._path, text)
        chosen = scene.choose_scene(module, self._spec.scene)
        self._foresee(text, module, chosen, request)
        return chosen

    def _load_template(self, wanted: dict[str, Any]) -> type[manim.Scene]:
        """One of our own scenes. Its parameters are data: nothing of them is compiled."""
        self._seed()
        self._share_random_numbers()
        _bound_recursion()
        self._configure()
        tex_client.install(self._compile_tex, lambda: self._splitter.formulas_of_leader)
        sys.argv = ["manim"]
        self._splitter.trust()
        present = manimq_templates.description(wanted["id"])["version"]
        if present != wanted["version"]:
            raise failure.NotRenderable(
                f"this worker has version {present} of {wanted['id']}, and the job was made for {wanted['version']}",
                hint="submit it again; if it stays so, API and workers have different versions of manimq",
            )
        return manimq_templates.load(wanted["id"], wanted["params"])

    def _seed(self) -> None:
        """Random numbers that job and scout have in common, and else only who asks for the same film.

        CPython reseeds `random` in a forked child; NumPy does not, and would
        give every job of this slot the same numbers.
        """
        self._entropy = hashlib.sha256(self._entropy).digest()
        random.seed(self._entropy)
        np.random.seed(np.frombuffer(self._entropy, np.uint32))

    def _share_random_numbers(self) -> None:
        """An unseeded scene asks the system for new numbers: give it common ones instead."""
        original = manim.Scene.__init__

        @functools.wraps(original)
        def init(instance: manim.Scene, *args: Any, **kwargs: Any) -> None:
            original(instance, *args, **kwargs)
            if instance.random_seed is None:
                self._seed()

        manim.Scene.__init__ = init

    def _configure(self) -> None:
        """What the command line's flags would leave in ``config``."""
        spec = self._spec
        config.notify_outdated_version = False
        config.progress_bar = "none"
        config.input_file = self._path
        config.media_dir = _MEDIA
        config.scene_names = [spec.scene] if spec.scene else []
        config.format = spec.format
        config.transparent = spec.transparent
        config.save_sections = spec.sections
        if spec.seed is not None:
            config.seed = spec.seed
        for name, quality in manim.constants.QUALITIES.items():
            if quality["flag"] and (
                quality["pixel_width"],
                quality["pixel_height"],
                quality["frame_rate"],
            ) == (spec.width, spec.height, spec.fps):
                config.quality = name
                return
        config.pixel_width = spec.width
        config.pixel_height = spec.height
        config.frame_rate = spec.fps

    # ------------------------------------------------------------ talking to the guard

    def _say(self, event: dict[str, Any]) -> None:
        write_all(_EVENTS, json.dumps(event).encode() + b"\n")

    def _compile_tex(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        self._say(request)
        header = read_line(_REPLIES)
        if not header:
            raise RuntimeError("the renderer is gone")
        answer = json.loads(header)
        body = bytearray()
        while len(body) < answer.get("bytes", 0):
            body += os.read(_REPLIES, answer["bytes"] - len(body))
        return answer, bytes(body)


    def _foresee(
        self, text: str, module: ModuleType, chosen: type[manim.Scene], request: Callable[..., dict[str, Any]]
    ) -> None:
        """Nothing: the job announces its formulas."""


class _Job(SceneProcess):
    """One render, from the source to the exit status."""

    def __init__(self, spec: JobSpec, entropy: bytes, cores: int) -> None:
        super().__init__(spec, entropy)
        self._splitter = Splitter(cores, self._say)
        self._began = time.monotonic()
        # Given back when memory runs out, so that the report still fits. It is
        # address space that is limited, so its pages need not be touched.
        self._reserve: mmap.mmap | None = mmap.mmap(-1, 4 * 1024 * 1024)

    def run(self) -> int:
        """Render. Returns the exit status; what happened is said on the event pipe."""
        faulthandler.enable(file=_CRASH, all_threads=False)
        faulthandler.register(signal.SIGUSR2, file=_CRASH, all_threads=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGXCPU, self._on_stop)
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
        sys.stderr.reconfigure(line_buffering=True, errors="backslashreplace")
        try:
            done = self._render()
        except BaseException as error:  # noqa: BLE001 - every way a scene can end
            if self._reserve is not None:
                self._reserve.close()
                self._reserve = None
            if self._splitter.forked and isinstance(error, MemoryError):
                self._splitter.give_up()  # a job on one core may have all of the memory
            gc.collect()
            self._say({"e": "failed", **self._describe(error)})
            return 1
        finally:
            self._flush()
        self._say({"e": "done", **done})
        return 0

    def _check_size(self) -> None:
        """A courtesy with a clear error: the guard looks at the finished file."""
        width, height, limit = config.pixel_width, config.pixel_height, self._spec.limits.pixels
        if width * height > limit:
            raise failure.LimitReached(
                f"the scene sets pictures of {width}×{height} pixels, and {limit} pixels are the limit"
            )

    def _describe(self, error: BaseException) -> dict[str, Any]:
        try:
            return failure.describe(error, self._path)
        except Exception:  # noqa: BLE001 - a tenant's own class can make anything of itself
            return {"class": "scene_error", "message": "the scene raised an exception that cannot be described"}

    def _render(self) -> dict[str, Any]:
        meter = engine.install(self._spec.encoder, self._say, self._splitter, self._spec.sections)
        missing_fonts = fonts.MissingFonts()
        manim.logger.addFilter(missing_fonts)
        missing_glyphs = fonts.MissingGlyphs()
        missing_glyphs.install()
        scene_class = self._load()
        self._check_size()
        # From here on as the command does it (manim/cli/render/commands.py), but
        # for putting the configuration back: that takes 14 ms, and nobody looks.
        instance = scene_class()
        Manager(instance)
        watch = layout.Watch(instance, share=LAYOUT_SHARE)
        started = time.monotonic()
        instance.render()
        final = getattr(instance.renderer.file_writer, "final_file_path", None)
        if final is None:
            raise failure.NotRenderable("every animation of this scene is skipped, so there is no film")
        self._check_format(Path(final))
        os.mkdir(collect.FOLDER)
        os.rename(final, collect.film_path(self._spec.format))
        too_many = self._leave_sections(instance.renderer.file_writer)
        self._leave_extras(instance.renderer.file_writer, Path(final))
        ended = time.monotonic()
        return {
            "prepare_s": started - self._began,
            "render_s": ended - started - meter.encode_s,
            "encode_s": meter.encode_s,
            "frames": meter.frames,
            "animations": instance.renderer.num_plays,
            "engine": meter.engine,
            "warnings": missing_glyphs.warnings + missing_fonts.warnings + too_many,
            "layout": watch.warnings,
        }

    def _check_format(self, final: Path) -> None:
        """A scene can set another format in its source than the job asks for, and a result has the one that was asked for."""
        wanted, made = self._spec.format, final.suffix.removeprefix(".") or "png-sequence"
        if made != wanted:
            raise failure.NotRenderable(
                f"the scene sets format {made}, the job asks for {wanted}", hint=hints.of_format(wanted, made)
            )

    def _leave_sections(self, writer: Any) -> list[str]:
        """Leave the films of sections; returns what to tell of those that a result has no room for."""
        films = writer.section_films() if self._spec.sections else []
        for number, film in enumerate(films[:SECTIONS_MAX], 1):
            os.rename(film, collect.section_path(number, self._spec.format))
        if len(films) <= SECTIONS_MAX:
            return []
        return [f"the scene has {len(films)} sections; only the first {SECTIONS_MAX} are films of their own"]

    def _leave_extras(self, writer: Any, final: Path) -> None:
        """What accompanies a film; none of it is worth a failure."""
        try:
            if self._spec.format != "png":
                writer.poster.save(Path(collect.POSTER))
            subtitles = final.with_suffix(".srt")
            if subtitles.exists():
                os.rename(subtitles, collect.SUBTITLES)
        except Exception as error:  # noqa: BLE001 - whatever the scene did to its own film
            print(f"there is no still or no subtitles of this film: {error}", file=sys.stderr)

    def _foresee(
        self, text: str, module: ModuleType, chosen: type[manim.Scene], request: Callable[..., dict[str, Any]]
    ) -> None:
        """Have the formulas set side by side that the scene will ask for one by one."""
        for wanted in formulas.foresee(text, module, chosen, request):
            self._say({"e": "tex_soon", **wanted})

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # Said before raising: a scene that swallows every exception has still
        # told where it was.
        where = {"drawer": not self._splitter.leads, "waiting": self._splitter.waits}
        self._say({"e": "stopped_at", **where, **failure.describe_frame(frame, self._path)})
        if self._splitter.waits:
            time.sleep(_LAST_WORDS_S)  # a drawer knows better; it dies with us
        raise failure.Stopped("the render was stopped at its time limit")

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: BLE001 - closed or replaced by the scene
                pass
