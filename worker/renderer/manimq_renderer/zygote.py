"""The zygote: Python with Manim warm, waiting to be forked.

At level ``full`` pid 1 of the slot's pid namespace, at level ``container`` the
leader of its session: when it ends, everything in the slot ends.
It never reads tenant data, so nothing of one job can be inherited by the next.
One thread, always: ``fork`` and ``unshare`` depend on it.
"""

from __future__ import annotations

import array
import gc
import io
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from . import RENDERER_VERSION, collect, guard, linux, tex, walls
from .protocol import send

_CONTROL = 3
_THREADS_GONE_S = 10.0


def main(control_fd: int, job_filter_fd: int, tex_filter_fd: int, doors: list[int], level: str, *places: str) -> None:
    """Warm up, say ready, fork a guard per job until the worker hangs up."""
    began = time.monotonic()
    walls.use_level(level, places)
    filters = walls.Filters(job=_read_all(job_filter_fd), tex=_read_all(tex_filter_fd))
    for door in doors:
        os.write(door, b"0")  # the writer itself, and all that it forks
    if control_fd != _CONTROL:
        os.dup2(control_fd, _CONTROL, inheritable=False)
    linux.close_all_from(_CONTROL + 1)
    control = socket.socket(fileno=_CONTROL)
    try:
        programs = tex.Programs.find()
        sample = _warm_up()
        zygote = guard.Zygote(filters, programs, _statm_bytes(0), sample)
        threads = _threads()
        if threads != 1:
            raise RuntimeError(f"the zygote has {threads} threads after warming up; it must have one")
        if shared := shared_memory():
            raise RuntimeError(f"the zygote would share memory with every job: {', '.join(shared)}")
        send(control, _ready(programs, threads, time.monotonic() - began))
    except BaseException as error:
        # The worker shows this to the operator; the traceback goes to its log.
        send(control, {"type": "unusable", "message": f"{type(error).__name__}: {error}"[:2000]})
        raise
    # Guards are reaped by the kernel: the worker sees their end on the channel.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    _serve(control, zygote)


def _serve(control: socket.socket, zygote: guard.Zygote) -> None:
    # What the zygote holds, every later job can read in its own memory: so it is told to
    # fork a guard and nothing else. What to render, the guard hears on its own channel.
    while True:
        fds = _receive(control)
        if not fds:
            return  # the worker is gone, or is done with this slot
        source, log, channel = fds
        zygote_pid = os.getpid()
        if os.fork() == 0:
            status = 1
            try:
                linux.die_with(zygote_pid)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                guard.main(zygote, source, log, socket.socket(fileno=channel))
                status = 0
            finally:
                os._exit(status)
        for fd in fds:
            os.close(fd)


def _receive(control: socket.socket) -> list[int]:
    """The three descriptors of a guard that is wanted; none when the worker has hung up."""
    fds = array.array("i")
    _, ancillary, _, _ = control.recvmsg(1, socket.CMSG_LEN(3 * fds.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _warm_up() -> collect.Sample:
    """Import everything a scene may need, and draw once so that lazy parts are there. What was drawn."""
    import tqdm

    tqdm.tqdm.monitor_interval = 0  # else a monitor thread is left behind
    # Its own lock lies in memory that all forks share: who is killed while he holds it would stop every later job.
    tqdm.tqdm.set_lock(threading.RLock())
    import manim
    import manimq_templates
    from manim import config
    from PIL import Image

    from . import coverage, engine, failure, fast_paths, fonts, formulas, scene, tex_client  # noqa: F401 - warm for every job

    engine.check_hooks()
    fast_paths.install()
    coverage.installed()
    manimq_templates.preload()  # where jobs run there is nothing to read them from
    Image.preinit()  # the probe of a picture cannot load plug-ins behind its walls
    folder = tempfile.mkdtemp(prefix="warm-")
    settings = {
        "media_dir": folder,
        "quality": "low_quality",
        "progress_bar": "none",
        "disable_caching": True,
        "notify_outdated_version": False,
    }
    before = dict(config)
    level = manim.logger.level
    manim.logger.setLevel("ERROR")
    with manim.tempconfig(settings):
        drawn = _sample_scene()
        drawn.render()
    manim.logger.setLevel(level)
    assert dict(config) == before, "the warm-up must leave the configuration as it was"
    still = io.BytesIO()
    Image.new("RGB", (64, 36)).save(still, "JPEG")
    sample = collect.Sample(Path(drawn.renderer.file_writer.movie_file_path).read_bytes(), still.getvalue())
    sample.look()
    shutil.rmtree(folder)
    tempfile.tempdir = None  # each job has its own
    _keep_internals_out_of_the_log()
    return sample


def _keep_internals_out_of_the_log() -> None:
    """A scene's log is for its author: no "partial movie file written in …" per play."""
    import logging

    import manim

    inside = os.path.dirname(manim.__file__) + os.sep

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.pathname.startswith(inside)

    manim.logger.addFilter(wanted)


def _ready(programs: tex.Programs, threads: int, seconds: float) -> dict[str, Any]:
    import av
    import manim

    return {
        "type": "ready",
        "versions": {
            "renderer": RENDERER_VERSION,
            "python": platform.python_version(),
            "manim": manim.__version__,
            "ffmpeg": av.ffmpeg_version_info,
            **programs.versions(),
        },
        "level": walls.level(),
        "landlock_abi": linux.landlock_abi(),
        "threads": threads,
        "rss_bytes": _statm_bytes(1),
        "warm_up_s": seconds,
        "python_executable": sys.executable,
    }


def _threads() -> int:
    """How many there are when those that have just ended are gone.

    Who waited for a thread's end may go on before the kernel has taken it away; on a busy
    machine that is a while.
    """
    until = time.monotonic() + _THREADS_GONE_S
    while (count := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < until:
        time.sleep(0.005)
    return count


def shared_memory() -> list[str]:
    """What this process could change and its forks would see: name or address of each such mapping."""
    found = []
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, rights, _, _, _, *name = line.split(maxsplit=5)
            if rights[1] == "w" and rights[3] == "s":
                found.append(name[0].strip() if name else span)
    return found


def _statm_bytes(column: int) -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")


def _read_all(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()


def _sample_scene() -> Any:
    # Manim is imported late, so that a failure to import it is reported like any other.
    from manim import Axes, Circle, Create, FadeIn, Scene, Square, Text, Transform

    class Sample(Scene):
        def construct(self) -> None:
            square = Square()
            axes = Axes(x_length=3, y_length=2)
            axes.plot(lambda x: x)
            self.play(Create(square), run_time=0.2)
            self.play(Transform(square, Circle()), FadeIn(Text("Aa")), run_time=0.2)

    return Sample()
