"""The guard: one trusted process per job, between the worker and the scene.

It is forked ahead of its job: it makes the namespaces, forks the job's process and the probe,
and waits for what to render. Then it mounts the folders, keeps the time, runs TeX for the job, and
when that is dead takes the file and has it checked. A job that takes longer gets
a scout, which runs ahead of it to learn its totals. The guard alone holds the
channel to the worker. It believes nothing that the job says (``protocol.clean_*``) and
never parses what the job made (``collect`` does, in a confined child).

One thread, one poll loop. Every wait has a deadline.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import clock, collect, hints, job, linux, process, scout, tex, walls, watch
from .chase import Chase
from .ending import Ending, NotConfined
from .gate import Gate, too_many_knocks
from .loop import EventPipe, Loop
from .probe import Probe
from .progress import COUNT_MAX, Progress
from .protocol import (
    EVENT_BYTES_MAX,
    EVENT_LINES_MAX,
    MESSAGE_BYTES_MAX,
    STAGES,
    JobSpec,
    clean_count,
    clean_failure,
    clean_layout,
    clean_seconds,
    clean_texts,
    send,
    try_send,
)
from .result import Message, Result, too_many_frames
from .still import EarlyStill
from .tex_desk import RUNS_MAX, Client, Desk, Shelf

GRACE_S = 2.0
"""From asking a job to say where it is until it is killed."""
PROGRESS_EVERY_S = 0.2
MEASURE_EVERY_S = 0.5
"""How often it is looked at what a job's processes and its TeX have used."""
DRAWER_BYTES = (160 * 2**20, 130)
"""Address space that a drawer takes beyond what it inherits: so much, and for each pixel."""


@dataclass(frozen=True, slots=True)
class Zygote:
    """What a guard inherits from the zygote; the same for every job of a slot."""

    filters: walls.Filters
    programs: tex.Programs
    address_space_bytes: int
    sample: collect.Sample


class Guard:
    """Runs one job from the first wall to the last message."""

    _spec: JobSpec
    _desk: Desk
    _probe: Probe
    _chase: Chase
    _still: EarlyStill

    def __init__(self, zygote: Zygote, source: int, log: int, channel: socket.socket) -> None:
        self._zygote = zygote
        self._source = source
        self._log = log
        self._channel = channel
        self._progress = Progress()
        self._progress_due: float | None = None
        self._progress_sent = 0.0
        self._ending = Ending()
        self._loop = Loop()
        self._tex_places = False
        self._entropy = os.urandom(32)
        self._gate: Gate | None = None
        self._measure_due: float | None = None
        self._again = False
        self._memory_seen = 0
        self._spent_s = 0.0
        self._job_dead = False
        self._kill_at: float | None = None
        self._watch_due: float | None = None
        self._asked_for_stack = False
        self._disk_least: int | None = None

    # ------------------------------------------------------------ life

    def run(self) -> None:
        """The whole life of the job. Returns when everything it started is dead."""
        # Opened while /proc is still there: the way back after each new pid namespace.
        if walls.level() == "full":
            self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._oom_score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._proc = process.open_proc()
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        walls.enter_job_namespaces()
        walls.make_job_folders()
        try:
            self._fork_job()
            zygote = self._zygote
            self._probe = Probe(
                self._fork_apart,
                lambda go, answer: collect.run_probe(
                    go, answer, zygote.sample, zygote.filters, zygote.address_space_bytes
                ),
            )
            if self._take_spec():
                self._run_in_folders()
        finally:
            walls.remove_job_folders()

    def _take_spec(self) -> bool:
        """Wait for what to render, for as long as the slot lives. False if there is nothing any more."""
        JobSpec.rehearse()
        message = self._channel.recv(MESSAGE_BYTES_MAX)
        if not message:
            return False
        self._spec = JobSpec.parse(message)
        if self._spec.sections:
            self._spec = replace(self._spec, cores=1)  # its pieces are the sections
        if walls.level() != "full":
            self._watch_due = clock.now()
            # Only a pid namespace of its own takes all of a job's processes with it.
            self._spec = replace(self._spec, cores=1)
        channel = self._channel
        shelf = Shelf(lambda message: try_send(channel, message)) if self._spec.formulas else None
        self._desk = Desk(self._loop, self._zygote.programs, self._start_tex, shelf)
        self._chase = Chase(
            self._loop, self._desk, self._progress, self._fork_scout, self._source, self._progress_changed
        )
        zygote = self._zygote
        self._still = EarlyStill(
            self._loop,
            self._fork_apart,
            lambda jpeg, answer: collect.run_still(
                jpeg, answer, zygote.sample, zygote.filters, zygote.address_space_bytes
            ),
            lambda message: try_send(channel, message),
        )
        return True

    def _run_in_folders(self) -> None:
        self._began = clock.now()
        walls.mount_job_folders(self._spec.limits)
        self._job_dir = os.open(walls.JOB_DIR, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if linux.is_over(self._job_pidfd):
            self._bury_spare()
            self._fork_job()
        self._start_job()
        self._probe.brief(collect.film_path(self._spec.format), self._spec)
        send(self._channel, {"type": "started"})
        now = clock.now()
        self._deadline = now + self._spec.limits.wall_s
        self._last_sign = now
        # A picture draws no frames: there is nothing to count before it.
        if self._spec.format != "png":
            self._chase.plan(now)
        while not self._job_dead:
            self._turn()
        self._send_progress(last=True)
        if self._ending.stop == "canceled":
            self._probe.end()
            send(self._channel, {"type": "interrupted"})
            return
        try:
            for message, fds in self._verdict():
                send(self._channel, message, fds)
        finally:
            self._probe.end()

    def _fork_scene(self, child: Callable[[], None]) -> int:
        """Fork a process that runs tenant code: the first to go when memory runs out."""
        own = os.pread(self._oom_score, 32, 0)
        os.write(self._oom_score, b"1000")  # inherited
        try:
            return self._fork_apart(child)
        finally:
            os.write(self._oom_score, own)

    def _fork_apart(self, child: Callable[[], None]) -> int:
        """Fork ``child``, which must not return; it dies with the guard.

        At level ``full`` as pid 1 of a pid namespace of its own: killing it kills
        all that it started, and ``waitpid`` returns when all of that is gone. At
        level ``container`` none of them can start a process after it confined itself.
        """
        guard_pid = os.getpid()
        if walls.level() == "full":
            linux.unshare(linux.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    linux.die_with(guard_pid)
                    child()
                finally:
                    os._exit(70)
        finally:
            if walls.level() == "full":
                linux.setns(self._own_pid_namespace, linux.CLONE_NEWPID)
        return pid

    def _fork_job(self) -> None:
        """Fork the job's process. It waits for its spec."""
        events_read, events_write = os.pipe()
        replies_read, replies_write = os.pipe()
        crash_read, crash_write = os.pipe()
        # Not at level `container`, where the guard may make no sockets either.
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if walls.level() == "full" else None
        self._way, doorbell = pair or (None, None)
        fds = job.Descriptors(
            self._source, self._log, events_write, replies_read, crash_write, doorbell.fileno() if doorbell else None
        )
        zygote = self._zygote
        self._job_pid = self._fork_scene(
            lambda: job.main(fds, self._entropy, zygote.filters, zygote.address_space_bytes)
        )
        for fd in (events_write, replies_read, crash_write):
            os.close(fd)
        if doorbell is not None:
            doorbell.close()
        self._events_fd, self._replies_fd, self._crash_fd = events_read, replies_write, crash_read
        os.set_blocking(crash_read, False)
        self._job_pidfd = os.pidfd_open(self._job_pid)

    def _bury_spare(self) -> None:
        """The waiting job was killed, as the first to go when a machine runs out of memory."""
        os.waitpid(self._job_pid, 0)
        for fd in (self._events_fd, self._replies_fd, self._crash_fd, self._job_pidfd):
            os.close(fd)
        if self._way is not None:
            self._way.close()

    def _start_job(self) -> None:
        """Tell the job what to render, and listen to it."""
        zygote, way = self._zygote, self._way
        os.close(self._log)
        if way is not None and self._spec.cores == 1:
            way.close()
        elif way is not None:
            limits, (fixed, a_pixel) = self._spec.limits, DRAWER_BYTES
            need = fixed + a_pixel * self._spec.width * self._spec.height
            self._gate = Gate(
                self._loop, way, self._proc, self._job_pid, self._spec.cores,
                limits.memory_bytes, zygote.address_space_bytes, need,
                lambda: self._end_at_limit(too_many_knocks()),
            )  # fmt: skip
        self._measure_due = clock.now() + MEASURE_EVERY_S
        self._events = EventPipe(
            self._loop,
            self._events_fd,
            bytes_max=EVENT_BYTES_MAX,
            lines_max=EVENT_LINES_MAX,
            on_line=self._on_event,
            on_violation=self._protocol_violation,
        )
        self._client = Client(self._replies_fd, walls.JOB_NICE, self._show_sign)
        self._desk.join(self._client)
        self._desk.tell(self._client, self._spec.line())
        self._loop.watch(self._job_pidfd, select.POLLIN, self._on_job_dead)
        self._loop.watch(self._channel.fileno(), select.POLLIN, self._on_channel)

    # ------------------------------------------------------------ loop

    def _turn(self) -> None:
        now = clock.now()
        if self._kill_at is None:
            due = [self._deadline]
            if self._spec.limits.stall_s is not None:
                due.append(self._last_sign + self._spec.limits.stall_s)
        else:
            due = [self._kill_at if self._asked_for_stack else self._kill_at - GRACE_S / 4]
        due += filter(
            None,
            (
                self._desk.deadline(), self._progress_due, self._chase.due, self._still.due,
                self._watch_due, self._measure_due,
            ),
        )
        self._loop.turn(min(due) - now)
        woke = clock.work()
        self._keep_time(clock.now())
        clock.worked(woke)

    def _keep_time(self, now: float) -> None:
        if self._job_dead:
            return
        self._desk.keep_time(now)
        if self._progress_due is not None and now >= self._progress_due:
            self._send_progress()
        self._chase.keep_time(now)
        if self._still.due is not None and now >= self._still.due:
            self._still.end()
        if self._watch_due is not None and now >= self._watch_due:
            self._watch()
        if self._measure_due is not None and now >= self._measure_due:
            self._measure(now)
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

    def _watch(self) -> None:
        """See that nobody has more than he may have."""
        began, work = clock.now(), clock.work()
        excess = watch.excess(self._job_pid, self._spec.limits)
        if excess is not None and self._kill_at is None:
            self._end_at_limit(excess)
        self._desk.check(lambda folder: watch.too_much(folder, walls.TEX_DISK_BYTES_MAX, walls.TEX_FILES_MAX))
        self._chase.watch(self._spec.limits.disk_files)
        self._look_at_disk()
        # A folder of thousands takes a while: never more than a small part of the time.
        clock.worked(work)
        now = clock.now()
        self._watch_due = now + min(watch.LATEST_S, max(watch.EVERY_S, 10 * (now - began)))

    def _look_at_disk(self) -> int:
        """The least room that there was on the disk: who has filled it may be gone when another has failed for it."""
        disk = os.fstatvfs(self._job_dir)
        free = disk.f_bavail * disk.f_frsize
        self._disk_least = free if self._disk_least is None else min(free, self._disk_least)
        return self._disk_least

    def _end_at_limit(self, failure: dict[str, Any]) -> None:
        """End a job that has passed a limit, with what it is told."""
        if self._ending.stop is None:
            self._ending.limit = failure
            try:
                # It has a moment to say where it is, and nothing to fill in it.
                resource.prlimit(self._job_pid, resource.RLIMIT_FSIZE, (0, 0))
            except (OSError, ValueError):
                pass  # at level `full` it is in a user namespace whose owner we are not
            self._end_job("limit")

    def _measure(self, now: float) -> None:
        """Look at what all processes of the job use together, and TeX for it."""
        self._measure_due = now + MEASURE_EVERY_S
        if process.is_headless(self._proc, self._job_pid):
            # Nothing more can be seen of it.
            self._ending.headless = True
            self._signal_job(signal.SIGKILL)
        elif self._gate is not None and self._gate.forks > 0:
            usage = self._gate.usage()
            self._memory_seen = max(self._memory_seen, usage.memory_bytes)
            self._judge_time(usage.cpu_s)
        else:
            self._judge_time(process.cpu_s(self._proc, self._job_pid))

    def _judge_time(self, job_s: float) -> None:
        if job_s + self._desk.cpu_s >= self._spec.limits.cpu_s and self._kill_at is None:
            self._end_job("cpu")

    def _end_job(self, why: str) -> None:
        """Ask the job where it is, and kill it soon after."""
        self._ending.stop = why
        self._chase.end()
        self._desk.stop()
        for drawer in self._gate.children()[:1] if self._gate is not None else ():
            try:
                os.kill(drawer, signal.SIGTERM)  # the oldest: its frames come next
            except ProcessLookupError:
                pass
        self._signal_job(signal.SIGTERM)
        self._kill_at = clock.now() + GRACE_S

    def _signal_job(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._job_pidfd, number)
        except ProcessLookupError:
            pass

    def _kill_job(self) -> None:
        self._chase.end()
        self._desk.stop()
        self._signal_job(signal.SIGKILL)
        self._kill_at = clock.now() + 60

    def _on_channel(self) -> None:
        message = b""
        try:
            message = self._channel.recv(MESSAGE_BYTES_MAX)
        except OSError:
            pass
        if message and (said := json.loads(message))["type"] == "formula":
            self._desk.take_from_shelf(said["key"], said["svg"])
            return
        # What is left is "cancel"; an end of file means the worker is gone.
        self._loop.unwatch(self._channel.fileno())
        self._ending.stop = "canceled"
        if message == b"":
            self._ending.notes.append("the worker is gone")
        self._kill_job()

    def _on_job_dead(self) -> None:
        self._events.read(all_of_it=True)
        _, status, usage = os.wait4(self._job_pid, 0)
        self._spent_s += usage.ru_utime + usage.ru_stime
        self._memory_seen = max(self._memory_seen, usage.ru_maxrss * 1024)
        self._still.end()
        if self._ending.stop is None and self._may_try_again(status):
            self._start_again()
            return
        self._chase.end()
        self._desk.close()
        self._job_dead = True
        ending = self._ending
        ending.status = status
        ending.cpu_s = self._spent_s + self._desk.cpu_s
        ending.peak_memory_bytes = self._memory_seen
        try:
            ending.crash = os.read(self._crash_fd, 65536).decode(errors="replace")
        except OSError:
            pass

    def _may_try_again(self, status: int) -> bool:
        """Whether the job ended for being on several cores, as far as anybody can know."""
        if self._gate is None or self._gate.forks == 0 or self._ending.headless:
            return False
        return self._again or os.WIFSIGNALED(status)

    def _start_again(self) -> None:
        """Once more from the start, on one core: in fresh folders, within the same time."""
        assert self._gate is not None
        self._gate.close()
        self._gate = self._measure_due = None
        self._events.stop()
        self._desk.leave(self._client)
        self._loop.unwatch(self._job_pidfd)
        self._loop.unwatch(self._channel.fileno())
        for fd in (self._events_fd, self._client.replies, self._crash_fd, self._job_pidfd, self._job_dir):
            os.close(fd)
        self._probe.end()
        self._began = clock.now()
        walls.renew_job_folders(self._spec.limits)
        self._job_dir = os.open(walls.JOB_DIR, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._spec = replace(self._spec, cores=1)
        self._ending, self._progress, self._again = Ending(), Progress(), False
        self._chase.end()
        self._show_sign()
        # A pipe of its own, so that the worker knows what was written anew.
        log, self._log = os.pipe()
        send(self._channel, {"type": "again"}, (log,))
        os.close(log)
        self._fork_job()
        self._start_job()

    # ------------------------------------------------------------ what the job says

    def _protocol_violation(self, what: str) -> None:
        self._ending.notes.append(f"the scene {what} on the renderer's own pipe")
        if self._ending.stop is None:
            self._ending.stop = "protocol"
        self._kill_job()

    def _show_sign(self) -> None:
        self._last_sign = clock.now()

    def _on_event(self, line: bytes) -> bool:
        try:
            return self._take_event(line)
        except (OSError, MemoryError):
            raise  # the machine's, not the line's
        except Exception:  # noqa: BLE001 - whatever a hostile line provokes
            return False

    def _take_event(self, line: bytes) -> bool:
        event = json.loads(line)
        kind = event["e"]
        if kind == "confined":
            self._ending.confined = True
            self._ending.walls_s = clock.now() - self._began
        elif kind == "frames":
            self._show_sign()
            self._progress.count(event, self._last_sign)
            self._progress_changed()
            if self._progress.frames_soon() > self._spec.limits.frames:
                self._end_at_limit(too_many_frames(self._spec.limits))
        elif kind == "drawn":
            self._show_sign()
            self._progress.add(event, self._last_sign)
            self._progress_changed()
            if self._progress.frames > self._spec.limits.frames:
                self._end_at_limit(too_many_frames(self._spec.limits))
        elif kind == "alone":
            self._again = True
        elif kind == "stage":
            self._show_sign()
            stage = event.get("stage")
            if isinstance(stage, str) and stage in STAGES:
                self._on_stage(stage)
        elif kind == "tex":
            self._show_sign()
            return self._desk.ask(self._client, event)
        elif kind == "tex_soon":
            return self._desk.foresee(event)
        elif kind == "still":
            if self._spec.format != "png" and self._kill_at is None:
                self._still.take(self._job_dir)
        elif kind == "stopped_at":
            self._take_place(event)
        elif kind == "failed":
            self._ending.failed = event
        elif kind == "done":
            self._ending.done = event
        else:
            return False
        return True

    def _take_place(self, event: dict[str, Any]) -> None:
        """Where the job was stopped. If it waited for a drawer, that one knows better."""
        known = self._ending.stopped_at
        if event.get("drawer") is True and known is not None and known.get("waiting") is not True:
            return
        if event.get("waiting") is True and known is not None:
            return
        self._ending.stopped_at = event

    def _on_stage(self, stage: str) -> None:
        self._progress.stage = stage
        self._progress_changed()
        if stage == "rendering":
            self._progress.drawing(self._last_sign)
        elif stage == "encoding":
            self._chase.end()
            self._probe.check()

    def _progress_changed(self) -> None:
        if self._progress_due is None:
            self._progress_due = max(clock.now(), self._progress_sent + PROGRESS_EVERY_S)

    def _send_progress(self, last: bool = False) -> None:
        if self._progress_due is None:
            return
        self._progress_due = None
        self._progress_sent = clock.now()
        message = self._progress.message(self._progress_sent)
        if last:
            send(self._channel, message)
        else:
            try_send(self._channel, message)

    # ------------------------------------------------------------ TeX for job and scout, and the scout

    def _start_tex(self, request: tex.Request, nice: int, place: int) -> tuple[int, int]:
        if not self._tex_places:
            walls.mount_tex_places(RUNS_MAX)
            self._tex_places = True
        walls.mount_tex_folder(place)
        folder = walls.tex_folder(place)
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        filters = self._zygote.filters
        pid = self._fork_apart(lambda: tex.run_confined(request, filters, nice, folder))
        # Both programs in one group, to be ended at once. The child does the same:
        # whoever comes first.
        try:
            os.setpgid(pid, pid)
        except PermissionError:
            pass  # it has become a program already
        return pid, directory

    def _fork_scout(self, fds: job.Descriptors) -> int:
        zygote = self._zygote
        return self._fork_scene(
            lambda: scout.main(self._spec, fds, self._entropy, zygote.filters, zygote.address_space_bytes)
        )

    # ------------------------------------------------------------ the end

    def _verdict(self) -> list[Message]:
        """The last messages to the worker: an artifact and ``done``, or ``failed``."""
        try:
            failure = self._ending.failure(self._spec)
            if failure is None:
                assert self._ending.done is not None
                try:
                    return self._artifact(self._ending.done)
                except collect.Refused as refused:
                    failure = {"class": refused.reason, "message": str(refused), "hint": refused.hint}
            return self._failed(failure)
        except (NotConfined, OSError, MemoryError):
            raise  # ours
        except Exception as error:  # noqa: BLE001 - whatever a hostile account provokes
            what = f"the scene said what it must not say on the renderer's own pipe ({type(error).__name__})"
            return self._failed({"class": "sandbox_denied", "denied": "escape", "message": what, "hint": hints.PIPE})

    def _failed(self, failure: dict[str, Any]) -> list[Message]:
        ending = self._ending
        message = clean_failure(failure, self._spec.file_name)
        # Classes that only the guard may give.
        if ending.stop == "stalled":
            message["class"] = "stalled"
        message["cpu_s"] = ending.cpu_s
        message["peak_memory_bytes"] = ending.peak_memory_bytes
        message["tex"] = self._desk.use()
        if walls.level() != "full":
            # Its folder lies on a disk that is not its own: the worker must know whose fault it was.
            message["disk_free_bytes"] = self._look_at_disk()
        return [(message, ())]

    def _artifact(self, done: dict[str, Any]) -> list[Message]:
        result = Result(self._job_dir, self._spec, self._probe)
        media = result.media
        finished = {
            "type": "done",
            "timings": {
                "walls_s": self._ending.walls_s,
                **{name: clean_seconds(done.get(name)) or 0.0 for name in ("prepare_s", "render_s", "encode_s")},
            },
            "frames": media.frames,
            "animations": clean_count(done.get("animations"), COUNT_MAX) or 0,
            "formulas_set": self._desk.runs,
            "tex": self._desk.use(),
            "warnings": clean_texts(done.get("warnings"), 5, 300),
            "layout": clean_layout(done.get("layout")),
            "engine": "stream" if done.get("engine") == "stream" else "manim",
            "cpu_s": self._ending.cpu_s,
            "peak_memory_bytes": self._ending.peak_memory_bytes,
        }
        self._progress.finish(finished["animations"], media.frames)
        progress = self._progress.message(clock.now())
        return [(progress, ()), *result.messages, (finished, ())]


def main(zygote: Zygote, source: int, log: int, channel: socket.socket) -> None:
    """Body of the forked guard."""
    try:
        Guard(zygote, source, log, channel).run()
    except BaseException as error:
        # A wall that does not stand is ours, never the user's: the job did not
        # run, or ends with us (it is in a pid namespace that dies with it).
        import traceback

        traceback.print_exc()
        text = f"guard: {type(error).__name__}: {error}"
        try_send(channel, {"type": "failed", "class": "sandbox_unavailable", "message": text[:1000]})
