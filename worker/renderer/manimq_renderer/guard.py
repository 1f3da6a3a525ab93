"""The guard: one trusted process per job, between the worker and the scene.

It builds the walls, forks the job, keeps the time, runs TeX for it, and when
the job is dead takes the file and has it checked. It alone holds the channel
to the worker. It believes nothing that the job says (``protocol.clean_*``) and
never parses what the job made (``collect`` does, in a confined child).

One thread, one poll loop. Every wait has a deadline.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import collect, job, linux, tex, walls
from .protocol import (
    EVENT_BYTES_MAX,
    EVENT_LINE_BYTES_MAX,
    EVENT_LINES_MAX,
    MESSAGE_BYTES_MAX,
    STAGES,
    JobSpec,
    clean_count,
    clean_failure,
    clean_seconds,
    send,
    try_send,
)

GRACE_S = 2.0
"""From asking a job to say where it is until it is killed."""
PROGRESS_EVERY_S = 0.2
PROBE_S = 20.0
OUTPUT_DIR = "out"


@dataclass(frozen=True, slots=True)
class Zygote:
    """What a guard inherits from the zygote; the same for every job of a slot."""

    filters: walls.Filters
    programs: tex.Programs
    address_space_bytes: int


@dataclass(slots=True)
class Progress:
    """The latest that the job said about how far it is."""

    stage: str = "preparing"
    animation: int = 0
    animation_frames: int = 0
    animation_frames_total: int | None = None
    frames: int = 0
    eta_s: float | None = None

    def message(self) -> dict[str, Any]:
        """The worker's form. Totals are not known before a scene has run."""
        return {
            "type": "progress",
            "stage": self.stage,
            "animation": self.animation,
            "animations_total": None,
            "frames": self.frames,
            "frames_total": None,
            "animation_frames": self.animation_frames,
            "animation_frames_total": self.animation_frames_total,
            "eta_s": self.eta_s,
        }


@dataclass(slots=True)
class Ending:
    """How a job ended, collected while it dies."""

    status: int = 0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    failed: dict[str, Any] | None = None
    stopped_at: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    crash: str = ""
    stop: str | None = None
    """Why the guard ended it: timeout, stalled, canceled, protocol; None if it ended itself."""
    notes: list[str] = field(default_factory=list)


class Guard:
    """Runs one job from the first wall to the last message."""

    def __init__(self, zygote: Zygote, spec: JobSpec, source: int, log: int, channel: socket.socket) -> None:
        self._zygote = zygote
        self._spec = spec
        self._source = source
        self._log = log
        self._channel = channel
        self._progress = Progress()
        self._progress_due: float | None = None
        self._progress_sent = 0.0
        self._ending = Ending()
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._events = bytearray()
        self._events_bytes = 0
        self._events_lines = 0
        self._reply = bytearray()
        self._probe_pid: int | None = None
        self._tex_pid: int | None = None
        self._tex_pidfd = -1
        self._tex_deadline = 0.0
        self._job_dead = False
        self._kill_at: float | None = None
        self._asked_for_stack = False

    # ------------------------------------------------------------ life

    def run(self) -> None:
        """The whole life of the job. Returns when everything it started is dead."""
        # Opened while /proc is still there: the way back after each new pid namespace.
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        oom_score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        walls.enter_job_namespaces()
        walls.mount_job_folders(self._spec.limits.disk_bytes)
        self._job_dir = os.open(walls.JOB_DIR, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.write(oom_score, b"1000")  # inherited by the job: first to go
        self._start_job()
        os.write(oom_score, b"0")
        os.close(oom_score)
        send(self._channel, {"type": "started"})
        now = time.monotonic()
        self._deadline = now + self._spec.limits.wall_s
        self._last_sign = now
        while not self._job_dead:
            self._turn()
        self._send_progress(last=True)
        if self._ending.stop == "canceled":
            self._end_probe()
            send(self._channel, {"type": "interrupted"})
            return
        try:
            messages = self._verdict()
        finally:
            self._end_probe()
        for message, fds in messages:
            send(self._channel, message, fds)

    def _fork_apart(self, child: Callable[[], None]) -> int:
        """Fork ``child`` as pid 1 of a pid namespace of its own.

        Killing it kills all that it started, and ``waitpid`` returns when all
        of that is gone. ``child`` must not return.
        """
        linux.unshare(linux.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    child()
                finally:
                    os._exit(70)
        finally:
            linux.setns(self._own_pid_namespace, linux.CLONE_NEWPID)
        return pid

    def _start_job(self) -> None:
        events_read, events_write = os.pipe()
        replies_read, replies_write = os.pipe()
        crash_read, crash_write = os.pipe()
        fds = job.Descriptors(self._source, self._log, events_write, replies_read, crash_write)
        self._job_pid = self._fork_apart(
            lambda: job.main(self._spec, fds, self._zygote.filters, self._zygote.address_space_bytes)
        )
        for fd in (self._source, self._log, events_write, replies_read, crash_write):
            os.close(fd)
        self._events_fd, self._replies_fd, self._crash_fd = events_read, replies_write, crash_read
        for fd in (events_read, replies_write, crash_read):
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        self._job_pidfd = os.pidfd_open(self._job_pid)
        self._watch(self._events_fd, select.POLLIN, self._on_events)
        self._watch(self._job_pidfd, select.POLLIN, self._on_job_dead)
        self._watch(self._channel.fileno(), select.POLLIN, self._on_channel)

    # ------------------------------------------------------------ loop

    def _watch(self, fd: int, events: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _turn(self) -> None:
        now = time.monotonic()
        if self._kill_at is None:
            due = [self._deadline]
            if self._spec.limits.stall_s is not None:
                due.append(self._last_sign + self._spec.limits.stall_s)
        else:
            due = [self._kill_at if self._asked_for_stack else self._kill_at - GRACE_S / 4]
        if self._tex_pid is not None:
            due.append(self._tex_deadline)
        if self._progress_due is not None:
            due.append(self._progress_due)
        for fd, _ in self._poll.poll(max(0.0, min(due) - now) * 1000 + 1):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler()
        self._keep_time(time.monotonic())

    def _keep_time(self, now: float) -> None:
        if self._job_dead:
            return
        if self._tex_pid is not None and now >= self._tex_deadline:
            os.kill(self._tex_pid, signal.SIGKILL)
            self._tex_deadline = now + 60  # its death comes through the pidfd
        if self._progress_due is not None and now >= self._progress_due:
            self._send_progress()
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._kill_job()
            elif not self._asked_for_stack and now >= self._kill_at - GRACE_S / 4:
                # Python did not get to run: ask faulthandler, which works from
                # the signal itself, for the stack.
                self._asked_for_stack = True
                self._signal_job(signal.SIGUSR2)
        elif now >= self._deadline:
            self._end_job("timeout")
        elif self._spec.limits.stall_s is not None and now >= self._last_sign + self._spec.limits.stall_s:
            self._end_job("stalled")

    def _end_job(self, why: str) -> None:
        """Ask the job where it is, and kill it soon after."""
        self._ending.stop = why
        self._kill_tex()
        self._signal_job(signal.SIGTERM)
        self._kill_at = time.monotonic() + GRACE_S

    def _signal_job(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._job_pidfd, number)
        except ProcessLookupError:
            pass

    def _kill_job(self) -> None:
        self._kill_tex()
        self._signal_job(signal.SIGKILL)
        self._kill_at = time.monotonic() + 60

    def _kill_tex(self) -> None:
        if self._tex_pid is not None:
            os.kill(self._tex_pid, signal.SIGKILL)

    def _on_channel(self) -> None:
        message = b""
        try:
            message = self._channel.recv(MESSAGE_BYTES_MAX)
        except OSError:
            pass
        # The only message is "cancel"; an end of file means the worker is gone.
        self._unwatch(self._channel.fileno())
        self._ending.stop = "canceled"
        if message == b"":
            self._ending.notes.append("the worker is gone")
        self._kill_job()

    def _on_job_dead(self) -> None:
        self._on_events(all_of_it=True)
        _, status, usage = os.wait4(self._job_pid, 0)
        if self._tex_pid is not None:
            # Its own end may be reported in the same turn: it is reaped here.
            self._unwatch(self._tex_pidfd)
            self._kill_tex()
            os.waitpid(self._tex_pid, 0)
            self._tex_pid = None
        self._job_dead = True
        ending = self._ending
        ending.status = status
        ending.cpu_s = usage.ru_utime + usage.ru_stime
        ending.peak_memory_bytes = usage.ru_maxrss * 1024
        try:
            ending.crash = os.read(self._crash_fd, 65536).decode(errors="replace")
        except OSError:
            pass

    # ------------------------------------------------------------ what the job says

    def _on_events(self, all_of_it: bool = False) -> None:
        while True:
            try:
                data = os.read(self._events_fd, 65536)
            except BlockingIOError:
                return
            if not data:
                # The job closed it, or is about to die: its pidfd tells.
                self._unwatch(self._events_fd)
                return
            self._events_bytes += len(data)
            self._events_lines += data.count(b"\n")
            self._events += data
            if self._events_bytes > EVENT_BYTES_MAX or self._events_lines > EVENT_LINES_MAX:
                return self._protocol_violation("said too much")
            while (end := self._events.find(b"\n")) >= 0:
                line = bytes(self._events[:end])
                del self._events[: end + 1]
                if not self._on_event(line):
                    return self._protocol_violation("said what it must not say")
            if len(self._events) > EVENT_LINE_BYTES_MAX:
                return self._protocol_violation("said too much at once")
            if not all_of_it:
                return

    def _protocol_violation(self, what: str) -> None:
        self._unwatch(self._events_fd)
        self._events.clear()
        self._ending.notes.append(f"the scene {what} on the renderer's own pipe")
        if self._ending.stop is None:
            self._ending.stop = "protocol"
        self._kill_job()

    def _on_event(self, line: bytes) -> bool:
        try:
            event = json.loads(line)
            kind = event["e"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if kind == "frames":
            self._last_sign = time.monotonic()
            progress = self._progress
            progress.animation = clean_count(event.get("animation"), 10**9) or 0
            progress.frames = clean_count(event.get("frames"), 10**9) or 0
            progress.animation_frames = clean_count(event.get("animation_frames"), 10**9) or 0
            progress.animation_frames_total = clean_count(event.get("animation_frames_total"), 10**9)
            self._progress_changed()
        elif kind == "stage":
            self._last_sign = time.monotonic()
            if event.get("stage") in STAGES:
                self._progress.stage = event["stage"]
                self._progress_changed()
                if event["stage"] == "encoding":
                    self._prepare_probe()
        elif kind == "tex":
            self._last_sign = time.monotonic()
            if self._tex_pid is not None or self._reply:
                return False
            self._start_tex(event)
        elif kind == "stopped_at":
            self._ending.stopped_at = event
        elif kind == "failed":
            self._ending.failed = event
        elif kind == "done":
            self._ending.done = event
        else:
            return False
        return True

    def _progress_changed(self) -> None:
        if self._progress_due is None:
            self._progress_due = max(time.monotonic(), self._progress_sent + PROGRESS_EVERY_S)

    def _send_progress(self, last: bool = False) -> None:
        if self._progress_due is None:
            return
        self._progress_due = None
        self._progress_sent = time.monotonic()
        if last:
            send(self._channel, self._progress.message())
        else:
            try_send(self._channel, self._progress.message())

    # ------------------------------------------------------------ TeX for the job

    def _start_tex(self, event: dict[str, Any]) -> None:
        request = tex.parse_request(event, self._zygote.programs)
        if isinstance(request, dict):
            return self._send_reply(request, b"")
        walls.mount_tex_folder()
        filters = self._zygote.filters
        self._tex_dir = os.open(walls.TEX_DIR, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._tex_pid = self._fork_apart(lambda: tex.run_confined(request, filters))
        self._tex_pidfd = os.pidfd_open(self._tex_pid)
        self._tex_deadline = time.monotonic() + tex.COMPILE_SECONDS_MAX
        self._watch(self._tex_pidfd, select.POLLIN, self._on_tex_dead)

    def _on_tex_dead(self) -> None:
        assert self._tex_pid is not None
        self._unwatch(self._tex_pidfd)
        os.close(self._tex_pidfd)
        _, status = os.waitpid(self._tex_pid, 0)
        self._tex_pid = None
        header, svg = tex.collect(self._tex_dir, status)
        os.close(self._tex_dir)
        linux.unmount(walls.TEX_DIR)
        self._last_sign = time.monotonic()
        self._send_reply(header, svg)

    def _send_reply(self, header: dict[str, Any], body: bytes) -> None:
        self._reply += json.dumps(header).encode() + b"\n" + body
        self._watch(self._replies_fd, select.POLLOUT, self._on_reply_room)

    def _on_reply_room(self) -> None:
        try:
            del self._reply[: os.write(self._replies_fd, self._reply)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._reply.clear()
        if not self._reply:
            self._unwatch(self._replies_fd)

    # ------------------------------------------------------------ the end

    def _verdict(self) -> list[tuple[dict[str, Any], tuple[int, ...]]]:
        """The last messages to the worker: an artifact and ``done``, or ``failed``."""
        ending = self._ending
        failure = self._failure()
        if failure is None:
            assert ending.done is not None
            try:
                return self._artifact(ending.done)
            except collect.Refused as refused:
                failure = {"class": refused.reason, "message": str(refused)}
        message = clean_failure(failure, self._spec.file_name)
        # Classes that only the guard may give.
        if ending.stop == "stalled":
            message["class"] = "stalled"
        message["cpu_s"] = ending.cpu_s
        message["peak_memory_bytes"] = ending.peak_memory_bytes
        return [(message, ())]

    def _failure(self) -> dict[str, Any] | None:
        """Why there is no file to take, or None."""
        ending, limits = self._ending, self._spec.limits
        if ending.stop in ("timeout", "stalled"):
            message = (
                f"the render was stopped at its time limit of {limits.wall_s:g} s"
                if ending.stop == "timeout"
                else f"the render showed no progress for {limits.stall_s:g} s and was stopped"
            )
            where = ending.stopped_at or self._crash_location() or {}
            return {**where, "class": "timeout", "message": message}
        if ending.stop == "protocol":
            return {"class": "sandbox_denied", "message": "; ".join(ending.notes)}
        if ending.failed is not None:
            return ending.failed
        if os.WIFSIGNALED(ending.status):
            return self._killed(os.WTERMSIG(ending.status))
        if os.WEXITSTATUS(ending.status) == job.SETUP_FAILED:
            raise RuntimeError("the job could not confine itself")
        if ending.status != 0 or ending.done is None:
            return {
                "class": "validation",
                "message": "the scene ended the Python process before the render was complete",
            }
        return None

    def _killed(self, number: int) -> dict[str, Any]:
        """The job died of a signal that the guard did not send."""
        ending, limits = self._ending, self._spec.limits
        where = ending.stopped_at or self._crash_location() or {}
        name = signal.Signals(number).name if number in signal.valid_signals() else str(number)
        if ending.cpu_s >= limits.cpu_s:
            message = f"the render used its {limits.cpu_s} s of CPU time"
            return {**where, "class": "timeout", "message": message}
        if number == signal.SIGKILL or ending.peak_memory_bytes > 0.6 * limits.memory_bytes:
            reached = ending.peak_memory_bytes // 2**20
            return {
                **where,
                "class": "out_of_memory",
                "message": f"the render reached {reached} MiB of memory and was stopped "
                f"(limit {limits.memory_bytes // 2**20} MiB)",
            }
        return {**where, "class": "scene_error", "message": f"the Python process crashed ({name})"}

    def _crash_location(self) -> dict[str, Any] | None:
        """The innermost frame of the user's file in what faulthandler wrote."""
        name = re.escape(f"{walls.JOB_DIR}/{self._spec.file_name}")
        found = re.search(rf'File "{name}", line (\d{{1,7}}) in (\S{{1,100}})', self._ending.crash)
        return {"line": int(found[1]), "function": found[2]} if found else None

    def _artifact(self, done: dict[str, Any]) -> list[tuple[dict[str, Any], tuple[int, ...]]]:
        kind = self._spec.format
        fd = collect.open_output(self._job_dir, self._output_path(), self._spec.limits.output_bytes)
        media = self._probe(fd)
        artifact = {
            "type": "artifact",
            "name": f"{'image' if kind == 'png' else 'video'}.{kind}",
            "role": "image" if kind == "png" else "video",
            "mime": collect.MIME[kind],
            "bytes": os.fstat(fd).st_size,
            "frames": media.frames,
            "width": media.width,
            "height": media.height,
            "fps": media.fps,
            "duration_s": media.duration_s,
        }
        finished = {
            "type": "done",
            "timings": {
                name: clean_seconds(done.get(name)) or 0.0 for name in ("prepare_s", "render_s", "encode_s")
            },
            "frames": media.frames,
            "animations": clean_count(done.get("animations"), 10**9) or 0,
            "engine": "stream" if done.get("engine") == "stream" else "manim",
            "cpu_s": self._ending.cpu_s,
            "peak_memory_bytes": self._ending.peak_memory_bytes,
        }
        return [(artifact, (fd,)), (finished, ())]

    def _prepare_probe(self) -> None:
        """Fork the probe, once. It waits until ``_probe`` gives the word."""
        if self._probe_pid is not None:
            return
        go_read, self._probe_go = os.pipe()
        self._probe_answer, answer_write = os.pipe()
        zygote = self._zygote
        self._probe_pid = self._fork_apart(
            lambda: collect.run_probe(
                self._job_dir,
                self._output_path(),
                self._spec.format,
                go_read,
                answer_write,
                zygote.filters,
                zygote.address_space_bytes,
            )
        )
        os.close(go_read)
        os.close(answer_write)

    def _probe(self, fd: int) -> collect.Media:
        self._prepare_probe()
        os.write(self._probe_go, b"g")
        poll = select.poll()
        poll.register(self._probe_answer, select.POLLIN)
        answer = os.read(self._probe_answer, 4096) if poll.poll(PROBE_S * 1000) else b""
        return collect.read_probe(answer, os.fstat(fd).st_ino)

    def _end_probe(self) -> None:
        if self._probe_pid is not None:
            os.kill(self._probe_pid, signal.SIGKILL)
            os.waitpid(self._probe_pid, 0)

    def _output_path(self) -> str:
        return f"{OUTPUT_DIR}/result.{self._spec.format}"


def main(zygote: Zygote, spec: JobSpec, source: int, log: int, channel: socket.socket) -> None:
    """Body of the forked guard."""
    try:
        Guard(zygote, spec, source, log, channel).run()
    except BaseException as error:
        # A wall that does not stand is ours, never the user's: the job did not
        # run, or ends with us (it is in a pid namespace that dies with it).
        import traceback

        traceback.print_exc()
        text = f"guard: {type(error).__name__}: {error}"
        try_send(channel, {"type": "failed", "class": "sandbox_unavailable", "message": text[:1000]})
