"""The guard's side of the scout (``scout.py``): sends it ahead of a job, and hears how long the scene is.

It is sent once at most. Whatever becomes of it, the job goes on.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass

from . import clock, folders, job, scout, walls, watch
from .loop import EventPipe, Loop
from .progress import COUNT_MAX, Progress
from .protocol import SCOUT_BYTES_MAX, SCOUT_LINES_MAX, clean_count
from .tex_desk import Client, Desk

PATIENCE_S = 3.0
"""For how long a scout may be behind the job and no faster."""
SILENCE_S = 20.0
"""For how long a scout may count nothing: a scene that hangs before its first frame costs no second core for long."""


@dataclass(slots=True)
class _Scout:
    """A running scout, seen from the guard."""

    pid: int
    pidfd: int
    events_fd: int
    events: EventPipe
    client: Client
    compared: tuple[float, int, int] | None = None
    """When it first counted, and its and the job's frames then."""


class Chase:
    """A scout that is to be sent, runs, or has been there."""

    def __init__(
        self,
        loop: Loop,
        desk: Desk,
        progress: Progress,
        fork: Callable[[job.Descriptors], int],
        source: int,
        told: Callable[[], None],
    ) -> None:
        """``fork`` starts a scout with these descriptors; ``told`` is called when the totals are known."""
        self._loop, self._desk, self._progress = loop, desk, progress
        self._fork, self._source, self._told = fork, source, told
        self._scout: _Scout | None = None
        self.due: float | None = None
        """When it is to be sent, or ended if it has counted nothing by then."""

    def plan(self, now: float) -> None:
        """The job begins. Its scout does not wait until it draws: both prepare the same at once."""
        self.due = now + scout.AFTER_S

    def keep_time(self, now: float) -> None:
        """Do what is due."""
        if self.due is None or now < self.due:
            return
        if self._scout is not None:
            self.end()
        else:
            self._start(now)

    def _start(self, now: float) -> None:
        self.due = now + SILENCE_S
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        events_read, events_write = os.pipe()
        replies_read, replies_write = os.pipe()
        try:
            pid = self._fork(job.Descriptors(self._source, null, events_write, replies_read, null))
        except OSError:  # no process or memory is left for it
            self.due = None
            for fd in (events_read, replies_write):
                os.close(fd)
            return
        finally:
            for fd in (null, events_write, replies_read):
                os.close(fd)
        events = EventPipe(
            self._loop,
            events_read,
            bytes_max=SCOUT_BYTES_MAX,
            lines_max=SCOUT_LINES_MAX,
            on_line=self._on_event,
            on_violation=lambda _: self.end(),
        )
        client = Client(replies_write, walls.SCOUT_NICE, lambda: None)
        self._desk.join(client)
        self._scout = _Scout(pid, os.pidfd_open(pid), events_read, events, client)
        self._loop.watch(self._scout.pidfd, select.POLLIN, self._on_dead)

    def end(self) -> None:
        """No scout is there, and none will be, when this returns."""
        self.due = None
        gone, self._scout = self._scout, None
        if gone is None:
            return
        gone.events.stop()
        self._desk.leave(gone.client)
        self._loop.unwatch(gone.pidfd)
        os.kill(gone.pid, signal.SIGKILL)
        os.waitpid(gone.pid, 0)
        if (folder := walls.scout_folder(gone.pid)) is not None and os.path.isdir(folder):
            folders.remove(folder)
        for fd in (gone.pidfd, gone.events_fd, gone.client.replies):
            os.close(fd)

    def watch(self, files_max: int) -> None:
        """At level ``container``: end one that has filled its folder."""
        if self._scout is not None and (folder := walls.scout_folder(self._scout.pid)) is not None:
            if watch.too_much(folder, scout.DISK_BYTES_MAX, files_max, self._scout.pid):
                self.end()

    def _on_dead(self) -> None:
        if self._scout is not None:
            self._scout.events.read(all_of_it=True)
        self.end()

    def _on_event(self, line: bytes) -> bool:
        """As hostile as a job's, and of less consequence: what is wrong ends the scout only."""
        try:
            return self._take_event(line)
        except (OSError, MemoryError):
            raise  # the machine's, not the line's
        except Exception:  # noqa: BLE001 - whatever a hostile line provokes
            return False

    def _take_event(self, line: bytes) -> bool:
        assert self._scout is not None
        event = json.loads(line)
        kind = event["e"]
        if kind == "frames":
            frames = clean_count(event.get("frames"), COUNT_MAX)
            if frames is None:
                return False
            self.due = None
            if self._is_hopeless(self._scout, frames):
                self.end()
        elif kind == "tex":
            return self._desk.ask(self._scout.client, event)
        elif kind == "totals":
            animations = clean_count(event.get("animations"), COUNT_MAX)
            frames = clean_count(event.get("frames"), COUNT_MAX)
            if not animations or not frames:
                return False
            self._progress.learn_totals(animations, frames)
            self._told()
            self.end()
        else:
            return kind == "stage"
        return True

    def _is_hopeless(self, scout: _Scout, frames: int) -> bool:
        """Whether it is behind the job and no faster: it only costs time."""
        now, drawn = clock.now(), self._progress.frames
        if scout.compared is None:
            scout.compared = (now, frames, drawn)
        since, frames_then, drawn_then = scout.compared
        if now - since < PATIENCE_S:
            return False
        scout.compared = (now, frames, drawn)
        return frames < drawn and frames - frames_then <= drawn - drawn_then
