"""Who gets which formula when: the guard's queue in front of ``tex.py``.

A job and its scout ask for the same formulas, and a job says early which ones it
will probably want. Each is set once: a good picture is kept, under the exact
request, in this job's guard, and by the worker for later jobs of the same tenant
(``Shelf``). Several runs go side by side, each in a folder of its own. Whoever
waits goes first, the job before its scout: a run that nobody waits for is ended
when somebody needs its place.
"""

from __future__ import annotations

import json
import os
import select
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import clock, linux, tex, walls
from .loop import Loop
from .protocol import MESSAGE_BYTES_MAX

CACHE_BYTES_MAX = 32 * 1024 * 1024
"""Texts and pictures kept for one job; a formula has some 10 KiB."""
RUNS_MAX = min(4, max(1, len(os.sched_getaffinity(0))))
"""Formulas set at a time."""
FORESEEN_MAX = 64
"""Formulas that a job may announce and that wait to be set."""
SHELF_BYTES_MAX = 64 * 1024
"""Largest picture that the worker is given to keep."""
RUNS_TOLD_MAX = 256
"""Runs of which the worker is told how long they took."""
SHELF_WAIT_S = 0.5
"""Longest wait for what the worker has kept; then the formula is set here."""


class Client:
    """A process that asks: one formula at a time, on its own pipe."""

    def __init__(self, replies: int, nice: int, on_served: Callable[[], None]) -> None:
        self.replies = replies
        self.nice = nice
        self.on_served = on_served
        self.wanted: tex.Request | None = None
        self.reply = bytearray()
        os.set_blocking(replies, False)


@dataclass(slots=True)
class _Run:
    """A formula being set."""

    request: tex.Request
    client: Client | None
    """For whom; None for one that was only announced."""
    place: int
    pid: int
    pidfd: int
    directory: int
    deadline: float
    started: float
    preempted: bool = False


class Shelf:
    """What the worker keeps of the tenant's formulas, asked over the guard's channel.

    ``send`` passes a message to the worker, or drops it: the shelf is only ever
    a way to save time. Its own contents are the worker's and are believed.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._asked: dict[str, tuple[tex.Request, float]] = {}
        self._answered: set[str] = set()

    def asks(self, request: tex.Request, now: float) -> bool:
        """Whether an answer is still to come; asks if nobody has yet."""
        key = request.key
        if key in self._answered:
            return False
        if key not in self._asked:
            self._asked[key] = (request, now + SHELF_WAIT_S)
            self._send({"type": "formula_wanted", "key": key})
        return True

    def answer(self, key: str) -> tex.Request | None:
        """The worker has answered; for which request."""
        self._answered.add(key)
        request, _ = self._asked.pop(key, (None, 0.0))
        return request

    def deadline(self) -> float | None:
        """When the first question has waited for long enough."""
        return min((until for _, until in self._asked.values()), default=None)

    def give_up(self, now: float) -> None:
        """Wait no more for answers that are late."""
        for key in [key for key, (_, until) in self._asked.items() if now >= until]:
            self.answer(key)

    def keep(self, request: tex.Request, svg: bytes) -> None:
        """A formula was set here: for the tenant's next job."""
        if len(svg) > SHELF_BYTES_MAX:
            return
        try:
            message = {"type": "formula_made", "key": request.key, "svg": svg.decode()}
        except UnicodeDecodeError:
            return  # not what dvisvgm writes
        if len(json.dumps(message)) < MESSAGE_BYTES_MAX:
            self._send(message)


class Desk:
    """Sets formulas for its clients; the first to join goes first."""

    def __init__(
        self,
        loop: Loop,
        programs: tex.Programs,
        start: Callable[[tex.Request, int, int], tuple[int, int]],
        shelf: Shelf | None = None,
        places: int = RUNS_MAX,
    ) -> None:
        """``start`` forks a run in a place and at a nice value, and returns its pid and folder."""
        self._loop = loop
        self._programs = programs
        self._fork = start
        self._shelf = shelf
        self._places = places
        self._clients: list[Client] = []
        self._foreseen: deque[tex.Request] = deque()
        self._runs: list[_Run] = []
        self._cache: dict[tex.Request, bytes] = {}
        self._cache_bytes = 0
        self._stopped = False
        self.runs = 0
        """TeX runs so far."""
        self.cpu_s = 0.0
        """Processor time of those that are over."""
        self._run_seconds: list[float] = []
        self._from_shelf = 0

    def join(self, client: Client) -> None:
        """A client may ask from here on."""
        self._clients.append(client)

    def tell(self, client: Client, line: bytes) -> None:
        """Send a line that is no answer: what to render. The pipe may take it bit by bit."""
        client.reply += line
        self._send(client)

    def leave(self, client: Client) -> None:
        """A client is gone, and nobody works for it any more."""
        self._clients.remove(client)
        client.wanted = None
        self._loop.unwatch(client.replies)
        for run in self._runs:
            if run.client is client and not self._is_wanted(run.request):
                self._preempt(run)

    def ask(self, client: Client, event: dict[str, Any]) -> bool:
        """Take a hostile request. False if the client has not had its last answer yet."""
        if client.wanted is not None or client.reply:
            return False
        request = tex.parse_request(event, self._programs)
        if isinstance(request, dict):
            self._answer(client, request, b"")
            return True
        svg = self._cache.get(request)
        if svg is not None:
            self._answer(client, _found(svg), svg)
            return True
        client.wanted = request
        self._fill()
        return True

    def foresee(self, event: dict[str, Any]) -> bool:
        """Take a hostile announcement of a formula. False if there are too many."""
        request = tex.parse_request(event, self._programs)
        if isinstance(request, dict):
            return True  # whoever asks for it in earnest is told
        if len(self._foreseen) >= FORESEEN_MAX:
            return False
        self._foreseen.append(request)
        self._fill()
        return True

    def take_from_shelf(self, key: str, svg: str | None) -> None:
        """The worker's answer."""
        request = None if self._shelf is None else self._shelf.answer(key)
        if request is not None and svg is not None:
            self._from_shelf += 1
            self._take_picture(request, svg.encode())
        self._fill()

    def use(self) -> dict[str, Any]:
        """For the worker's metrics: formulas known from earlier jobs, and how long each run took."""
        return {"hits": self._from_shelf, "runs_s": self._run_seconds}

    def deadline(self) -> float | None:
        """When ``keep_time`` has something to do."""
        due = [run.deadline for run in self._runs]
        if self._shelf is not None and (late := self._shelf.deadline()) is not None:
            due.append(late)
        return min(due, default=None)

    def keep_time(self, now: float) -> None:
        """End runs that take too long."""
        for run in self._runs:
            if now >= run.deadline:
                linux.end_group(run.pid)
                run.deadline = now + 60  # its death comes through the pidfd
        if self._shelf is not None:
            self._shelf.give_up(now)
            self._fill()

    def check(self, has_too_much: Callable[[str], bool]) -> None:
        """End runs whose folder has more in it than it may."""
        for run in self._runs:
            if has_too_much(walls.tex_folder(run.place)):
                linux.end_group(run.pid)

    def stop(self) -> None:
        """Start nothing more; what runs is killed, and reaped in ``close``."""
        self._stopped = True
        for client in self._clients:
            client.wanted = None
        for run in self._runs:
            linux.end_group(run.pid)

    def close(self) -> None:
        """Everything is dead when this returns."""
        self.stop()
        for run in self._runs:
            self._loop.unwatch(run.pidfd)
            self._reap(run)
        self._runs.clear()

    # ------------------------------------------------------------ runs

    def _is_wanted(self, request: tex.Request) -> bool:
        return any(client.wanted == request for client in self._clients)

    def _is_running(self, request: tex.Request) -> bool:
        return any(run.request == request and not run.preempted for run in self._runs)

    def _preempt(self, run: _Run) -> None:
        run.preempted = True
        linux.end_group(run.pid)

    def _fill(self) -> None:
        """Start what can be started: first for those who wait, then what was announced."""
        now = clock.now()
        for client in self._clients:
            request = client.wanted
            if request is None or self._is_running(request) or self._waits_for_shelf(request, now):
                continue
            if len(self._runs) < self._places:
                self._start(request, client)
            else:
                self._make_room(client)
        waiting = list(self._foreseen)
        self._foreseen.clear()
        for request in waiting:
            if request in self._cache or self._is_running(request):
                continue
            if self._waits_for_shelf(request, now) or len(self._runs) >= self._places:
                self._foreseen.append(request)
            else:
                self._start(request, None)

    def _waits_for_shelf(self, request: tex.Request, now: float) -> bool:
        return self._shelf is not None and self._shelf.asks(request, now)

    def _make_room(self, client: Client) -> None:
        """End a run that is of less use than one for ``client``, if there is one."""
        if any(run.preempted for run in self._runs):
            return  # room is coming
        rank = self._clients.index(client)
        for run in reversed(self._runs):
            waiting = [index for index, each in enumerate(self._clients) if each.wanted == run.request]
            if min(waiting, default=len(self._clients)) > rank:
                self._preempt(run)
                return

    def _start(self, request: tex.Request, client: Client | None) -> None:
        if self._stopped:
            return
        place = min(set(range(self._places)) - {run.place for run in self._runs})
        # What was announced, the job waits for soon: it is the first to have joined.
        nice = (client or self._clients[0]).nice
        pid, directory = self._fork(request, nice, place)
        pidfd = os.pidfd_open(pid)
        deadline = clock.now() + tex.COMPILE_SECONDS_MAX
        run = _Run(request, client, place, pid, pidfd, directory, deadline, clock.now())
        self._runs.append(run)
        self.runs += 1
        self._loop.watch(pidfd, select.POLLIN, lambda: self._on_dead(run))

    def _on_dead(self, run: _Run) -> None:
        self._runs.remove(run)
        self._loop.unwatch(run.pidfd)
        os.close(run.pidfd)
        status = self._reap(run)
        header, svg = tex.collect(run.directory, status)
        os.close(run.directory)
        walls.unmount_tex_folder(run.place)
        if not run.preempted and len(self._run_seconds) < RUNS_TOLD_MAX:
            self._run_seconds.append(round(clock.now() - run.started, 3))
        if header["ok"]:
            self._take_picture(run.request, svg)
            if self._shelf is not None:
                self._shelf.keep(run.request, svg)
        elif not (run.preempted and os.WIFSIGNALED(status)):
            # A failure is for the one who started it, what was announced for the
            # job: it may be of want of time, and the job must not fail because
            # its scout was slow.
            client = run.client or self._clients[0]
            if client in self._clients and client.wanted == run.request:
                client.wanted = None
                self._answer(client, header, svg)
        self._fill()

    def _reap(self, run: _Run) -> int:
        status, used_s = linux.reap_group(run.pid)
        self.cpu_s += used_s
        return status

    def _take_picture(self, request: tex.Request, svg: bytes) -> None:
        """A good picture: keep it, and give it to those who wait for it."""
        if request not in self._cache:
            self._cache[request] = svg
            self._cache_bytes += len(request.text) + len(svg)
        while self._cache_bytes > CACHE_BYTES_MAX:
            oldest = next(iter(self._cache))
            self._cache_bytes -= len(oldest.text) + len(self._cache.pop(oldest))
        for client in self._clients:
            if client.wanted == request:
                client.wanted = None
                self._answer(client, _found(svg), svg)

    # ------------------------------------------------------------ answers

    def _answer(self, client: Client, header: dict[str, Any], body: bytes) -> None:
        client.on_served()
        client.reply += json.dumps(header).encode() + b"\n" + body
        self._send(client)

    def _send(self, client: Client) -> None:
        """As much as there is room for now, and the rest when there is more."""
        try:
            del client.reply[: os.write(client.replies, client.reply)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            client.reply.clear()  # it has just been killed: found soon
        if client.reply:
            self._loop.watch(client.replies, select.POLLOUT, lambda: self._send(client))
        else:
            self._loop.unwatch(client.replies)


def _found(svg: bytes) -> dict[str, Any]:
    return {"ok": True, "bytes": len(svg)}
