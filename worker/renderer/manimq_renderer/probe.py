"""The guard's side of the probe (``collect.run_probe``): the confined child that reads a finished file."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable

from . import collect
from .protocol import JobSpec

PROBE_S = 20.0
"""Longest look at a file."""


class Probe:
    """One waiting probe. It looks once, at what one job has left."""

    def __init__(self, fork: Callable[[Callable[[], None]], int], body: Callable[[int, int], None]) -> None:
        """``fork`` gives a child of its own; ``body`` is what it does with its two pipes."""
        self._fork, self._body = fork, body
        self._job = b""
        self._pid: int | None = None
        self.said = b""
        self._start()

    def _start(self) -> None:
        go_read, self._go = os.pipe()
        self._answer, answer_write = os.pipe()
        self._pid = self._fork(lambda: self._body(go_read, answer_write))
        os.close(go_read)
        os.close(answer_write)

    def brief(self, path: str, spec: JobSpec) -> None:
        """Say what there will be to look at."""
        job = {"path": path, "kind": spec.format, "sections": spec.sections}
        self._job = json.dumps(job).encode() + b"\n"
        self._tell(self._job)

    def _tell(self, words: bytes) -> None:
        try:
            os.write(self._go, words)
        except BrokenPipeError:
            pass  # it was killed while it waited: ``check``

    def check(self) -> None:
        """See that it lives: one that was killed while it waited says nothing about a file."""
        if self._pid is not None and os.waitpid(self._pid, os.WNOHANG)[0] != 0:
            self._close()
        if self._pid is None:
            self._start()
            self._tell(self._job)

    def look(self, inode: int) -> collect.Media:
        """What is in the file, which must be this one."""
        self.check()
        self._tell(b"g")
        poll = select.poll()
        poll.register(self._answer, select.POLLIN)
        self.said = os.read(self._answer, 4096) if poll.poll(PROBE_S * 1000) else b""
        return collect.read_probe(self.said, inode)

    def end(self) -> None:
        """It is gone when this returns; ``check`` starts another one."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._close()

    def _close(self) -> None:
        os.close(self._go)
        os.close(self._answer)
        self._pid = None
