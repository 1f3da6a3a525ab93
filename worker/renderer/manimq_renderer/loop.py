"""The guard's poll loop, and hostile pipes read in it within bounds."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from . import clock
from .protocol import EVENT_LINE_BYTES_MAX


class Loop:
    """Descriptors and what to do when they are ready. One thread."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever ``fd`` has one of ``events``."""
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop that; nothing happens if it was not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def turn(self, seconds: float) -> None:
        """Wait at most so long, then handle what is ready."""
        began = clock.now()
        ready = self._poll.poll(max(0.0, seconds) * 1000 + 1)
        clock.waited(began, seconds)
        woke = clock.work()
        for fd, handler in [(fd, self._handlers.get(fd)) for fd, _ in ready]:
            # An earlier handler may have closed this one, or reused its number.
            if handler is not None and self._handlers.get(fd) is handler:
                handler()
        clock.worked(woke)  # the machine may be stopped between two waits, too


class EventPipe:
    """Lines that scene code may have written. The reader is told, or told off.

    ``on_line`` returns whether it was a line to be said. ``on_violation`` gets
    what was wrong; nothing is read after it.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        *,
        bytes_max: int,
        lines_max: int,
        on_line: Callable[[bytes], bool],
        on_violation: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._bytes_left = bytes_max
        self._lines_left = lines_max
        self._on_line = on_line
        self._on_violation = on_violation
        self._pending = bytearray()
        self._open = True
        os.set_blocking(fd, False)
        loop.watch(fd, select.POLLIN, self.read)

    def read(self, all_of_it: bool = False) -> None:
        """Take what is there: one piece, so that nobody can keep the loop to himself."""
        while self._open:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            if not data:
                # It was closed, or the writer is about to die: a pidfd tells.
                return self.stop()
            self._bytes_left -= len(data)
            self._lines_left -= data.count(b"\n")
            self._pending += data
            if self._bytes_left < 0 or self._lines_left < 0:
                return self._violated("said too much")
            while self._open and (end := self._pending.find(b"\n")) >= 0:
                line = bytes(self._pending[:end])
                del self._pending[: end + 1]
                if not self._on_line(line):
                    return self._violated("said what it must not say")
            if len(self._pending) > EVENT_LINE_BYTES_MAX:
                return self._violated("said too much at once")
            if not all_of_it:
                return

    def stop(self) -> None:
        """Read no more. The descriptor stays with its owner."""
        self._open = False
        self._loop.unwatch(self._fd)
        self._pending.clear()

    def _violated(self, what: str) -> None:
        self.stop()
        self._on_violation(what)
