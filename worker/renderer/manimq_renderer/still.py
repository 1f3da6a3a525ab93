"""The guard's side of a job's early still (``poster.Early``): copied, decoded by a confined child, passed on.

Once at most. Whatever is wrong with it, the job goes on.
"""

from __future__ import annotations

import binascii
import json
import os
import select
import signal
from collections.abc import Callable
from typing import Any

from . import clock, collect
from .loop import Loop
from .protocol import clean_count

_LOOK_S = 10.0
"""Longest look at a picture."""


class EarlyStill:
    """The still of a job that still draws."""

    def __init__(
        self,
        loop: Loop,
        fork: Callable[[Callable[[], None]], int],
        body: Callable[[bytes, int], None],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        """``fork`` gives a child of its own, ``body`` is what it does with a picture and a pipe; ``tell`` the worker."""
        self._loop, self._fork, self._body, self._tell = loop, fork, body, tell
        self._over = False
        self._pid: int | None = None
        self._jpeg = b""
        self.due: float | None = None
        """When the look has taken too long."""

    def take(self, directory: int) -> None:
        """The job says that there is one in its folder."""
        if self._over:
            return
        self._over = True
        jpeg = collect.read_early(directory)
        if jpeg is None:
            return
        self._jpeg = jpeg
        self._answer, answer_write = os.pipe()
        try:
            self._pid = self._fork(lambda: self._body(jpeg, answer_write))
        except OSError:  # no process or memory is left for it
            os.close(self._answer)
            return
        finally:
            os.close(answer_write)
        self._pidfd = os.pidfd_open(self._pid)
        self._loop.watch(self._pidfd, select.POLLIN, self._on_dead)
        self.due = clock.now() + _LOOK_S

    def end(self) -> bytes:
        """Nobody looks when this returns, and nobody will. What was said until then."""
        self.due, self._over = None, True
        pid, self._pid = self._pid, None
        if pid is None:
            return b""
        self._loop.unwatch(self._pidfd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said = os.read(self._answer, 4096)
        os.close(self._pidfd)
        os.close(self._answer)
        return said

    def _on_dead(self) -> None:
        try:
            width, height = json.loads(self.end())
        except Exception:  # noqa: BLE001 - whatever a hostile picture provokes: then there is none
            return
        width, height = clean_count(width, 4096), clean_count(height, 4096)
        if width and height:
            jpeg = binascii.b2a_base64(self._jpeg, newline=False).decode()
            self._tell({"type": "still", "jpeg": jpeg, "width": width, "height": height})
