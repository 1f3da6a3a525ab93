"""Who gets which formula when: the guard's queue in front of ``tex.py``.

A job and its scout ask for the same formulas. Each is set once: a good picture
is kept for the other one, under the exact request, in this job's guard only.
The job goes first: a run for the scout is ended when the job needs another
formula, and made up for later.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import linux, tex, walls
from .loop import Loop

CACHE_BYTES_MAX = 32 * 1024 * 1024
"""Texts and pictures kept for one job; a formula has some 10 KiB."""


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
    client: Client
    pid: int
    pidfd: int
    directory: int
    deadline: float
    preempted: bool = False


class Desk:
    """Sets formulas for its clients; the first to join goes first."""

    def __init__(
        self,
        loop: Loop,
        programs: tex.Programs,
        start: Callable[[tex.Request, int], tuple[int, int]],
    ) -> None:
        """``start`` forks a run at a nice value, and returns its pid and folder."""
        self._loop = loop
        self._programs = programs
        self._fork = start
        self._clients: list[Client] = []
        self._run: _Run | None = None
        self._cache: dict[tex.Request, bytes] = {}
        self._cache_bytes = 0
        self.runs = 0
        """TeX runs so far."""

    def join(self, client: Client) -> None:
        """A client may ask from here on."""
        self._clients.append(client)

    def leave(self, client: Client) -> None:
        """A client is gone, and nobody works for it any more."""
        self._clients.remove(client)
        client.wanted = None
        self._loop.unwatch(client.replies)
        if self._run is not None and self._run.client is client and not self._is_wanted(self._run.request):
            self._preempt(self._run)

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
        run = self._run
        if run is None:
            self._start(client)
        elif run.request != request and self._goes_before(client, run.client):
            self._preempt(run)
        return True

    def deadline(self) -> float | None:
        """When ``keep_time`` has something to do."""
        return None if self._run is None else self._run.deadline

    def keep_time(self, now: float) -> None:
        """End a run that takes too long."""
        if self._run is not None and now >= self._run.deadline:
            os.kill(self._run.pid, signal.SIGKILL)
            self._run.deadline = now + 60  # its death comes through the pidfd

    def stop(self) -> None:
        """Start nothing more; what runs is killed, and reaped in ``close``."""
        for client in self._clients:
            client.wanted = None
        if self._run is not None:
            os.kill(self._run.pid, signal.SIGKILL)

    def close(self) -> None:
        """Everything is dead when this returns."""
        self.stop()
        if self._run is not None:
            self._loop.unwatch(self._run.pidfd)
            os.waitpid(self._run.pid, 0)
            self._run = None

    # ------------------------------------------------------------ runs

    def _goes_before(self, one: Client, other: Client) -> bool:
        if other not in self._clients:
            return True
        return self._clients.index(one) < self._clients.index(other)

    def _is_wanted(self, request: tex.Request) -> bool:
        return any(client.wanted == request for client in self._clients)

    def _preempt(self, run: _Run) -> None:
        run.preempted = True
        os.kill(run.pid, signal.SIGKILL)

    def _start(self, client: Client) -> None:
        request = client.wanted
        assert request is not None and self._run is None
        pid, directory = self._fork(request, client.nice)
        pidfd = os.pidfd_open(pid)
        deadline = time.monotonic() + tex.COMPILE_SECONDS_MAX
        self._run = _Run(request, client, pid, pidfd, directory, deadline)
        self.runs += 1
        self._loop.watch(pidfd, select.POLLIN, self._on_dead)

    def _on_dead(self) -> None:
        run = self._run
        assert run is not None
        self._run = None
        self._loop.unwatch(run.pidfd)
        os.close(run.pidfd)
        _, status = os.waitpid(run.pid, 0)
        header, svg = tex.collect(run.directory, status)
        os.close(run.directory)
        linux.unmount(walls.TEX_DIR)
        if header["ok"]:
            self._keep(run.request, svg)
        if not (run.preempted and os.WIFSIGNALED(status)):
            for client in self._clients:
                # A failure is for the one who started it: it may be of want of
                # time, and the job must not fail because its scout was slow.
                if client.wanted == run.request and (header["ok"] or client is run.client):
                    client.wanted = None
                    self._answer(client, header, svg)
        waiting = next((client for client in self._clients if client.wanted is not None), None)
        if waiting is not None:
            self._start(waiting)

    def _keep(self, request: tex.Request, svg: bytes) -> None:
        self._cache[request] = svg
        self._cache_bytes += len(request.text) + len(svg)
        while self._cache_bytes > CACHE_BYTES_MAX:
            oldest = next(iter(self._cache))
            self._cache_bytes -= len(oldest.text) + len(self._cache.pop(oldest))

    # ------------------------------------------------------------ answers

    def _answer(self, client: Client, header: dict[str, Any], body: bytes) -> None:
        client.on_served()
        client.reply += json.dumps(header).encode() + b"\n" + body
        self._loop.watch(client.replies, select.POLLOUT, lambda: self._on_room(client))

    def _on_room(self, client: Client) -> None:
        try:
            del client.reply[: os.write(client.replies, client.reply)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            client.reply.clear()
        if not client.reply:
            self._loop.unwatch(client.replies)


def _found(svg: bytes) -> dict[str, Any]:
    return {"ok": True, "bytes": len(svg)}
