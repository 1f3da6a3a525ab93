"""The gate through which a job may fork drawers (``split.py``), and its guard's side of it.

A job's filter allows no fork. If the job may take several cores, one exact form of
``clone`` (what ``os.fork`` does, and nothing else) is not refused but asked about: the kernel
stops the caller and the guard answers (seccomp user notification). The flags are in
registers, which nobody can change while the guard decides.

The guard lets in the job's first process only, never a drawer, and never more at a time than the job has
cores; so of a job there are at most one process more than that. Before the first fork it divides the
job's memory: each process may have an equal part, and a film whose parts would be too small is
not split. Processor time is that of all of them together. Drawers are born behind the job's walls, in
its pid namespace: when the job dies, they do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import resource
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import hints, linux, process
from .loop import Loop
from .split import PIECES_MAX

_ARCH, _CLONE = (0xC000_00B7, 220) if platform.machine() == "aarch64" else (0xC000_003E, 56)
_FORK_FLAGS = 0x0100_0000 | 0x0020_0000 | 17
"""CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID and SIGCHLD: glibc's fork."""
_ALLOW, _ASK = 0x7FFF_0000, 0x7FC0_0000
_RECEIVE, _ANSWER = 0xC050_2100, 0xC018_2101
_NOTICE, _REPLY = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_CONTINUE = 1
_MIB = 1024 * 1024
_KNOCKS_MAX = 2 * PIECES_MAX
"""Those that are refused included, of which an honest job makes a few: each takes the guard's time."""


def _on_fork(action: int) -> bytes:
    """BPF: ``action`` for exactly that call, else on to what follows."""
    steps = (
        (0x20, 0, 0, 4),  # architecture
        (0x15, 0, 7, _ARCH),
        (0x20, 0, 0, 0),  # number
        (0x15, 0, 5, _CLONE),
        (0x20, 0, 0, 16),  # flags, low half
        (0x15, 0, 3, _FORK_FLAGS),
        (0x20, 0, 0, 20),  # and high half
        (0x15, 0, 1, 0),
        (0x06, 0, 0, action),
    )
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def allowing_fork(job_filter: bytes) -> bytes:
    """A job's filter that leaves this call to the gate."""
    return _on_fork(_ALLOW) + job_filter


def open_in_job(doorbell: int) -> bool:
    """In a fresh job, before it is confined: put up the gate and hand it to the guard.

    False if this kernel, or a filter around us, cannot do it: the job renders on one core.
    """
    with socket.socket(fileno=doorbell) as way:
        try:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            listener = linux.install_seccomp_listener(_on_fork(_ASK) + struct.pack("=HBBI", 0x06, 0, 0, _ALLOW))
        except OSError:
            return False
        socket.send_fds(way, [b"g"], [listener])
        os.close(listener)
    return True


def too_many_knocks() -> dict[str, Any]:
    """The failure of a job that asks for processes without end."""
    message = f"the render asked for another process more than {_KNOCKS_MAX} times"
    return {"class": "sandbox_denied", "denied": "process", "message": message, "hint": hints.PROCESSES}


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes of a job use now."""

    cpu_s: float
    memory_bytes: int


class Gate:
    """The guard's side: answers each knock, and looks at the processes that came of it."""

    def __init__(
        self, loop: Loop, way: socket.socket, proc: int, job: int, cores: int, memory_bytes: int, base_bytes: int, need_bytes: int,
        on_flood: Callable[[], None],
    ) -> None:
        """``proc`` is a descriptor of /proc; ``base_bytes`` the address space that a job begins with;
        ``need_bytes`` what a drawer takes beyond what it inherits; ``on_flood`` is called once if the job
        knocks without end, and none of it is answered any more."""
        self._loop, self._way, self._proc, self._job = loop, way, proc, job
        self._cores, self._memory, self._base, self._need = cores, memory_bytes, base_bytes, need_bytes
        self._listener: int | None = None
        self._drawers_max: int | None = None
        self._on_flood = on_flood
        self._knocks = 0
        self.forks = 0
        loop.watch(way.fileno(), select.POLLIN, self._on_way)

    def _on_way(self) -> None:
        self._loop.unwatch(self._way.fileno())
        try:
            _, fds, _, _ = socket.recv_fds(self._way, 1, 1)
        except OSError:
            fds = []
        if fds:
            self._listener = fds[0]
            self._loop.watch(self._listener, select.POLLIN, self._on_knock)

    def _on_knock(self) -> None:
        assert self._listener is not None
        self._knocks += 1
        if self._knocks > _KNOCKS_MAX:
            self._loop.unwatch(self._listener)
            self._on_flood()
            return
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
        except OSError:
            return  # it died while it waited
        number, pid, _, call, arch, *_ = _NOTICE.unpack(notice)
        granted = pid == self._job and (call, arch) == (_CLONE, _ARCH) and self._may_fork()
        answer = _REPLY.pack(number, 0, 0, _CONTINUE) if granted else _REPLY.pack(number, 0, -errno.EAGAIN, 0)
        try:
            fcntl.ioctl(self._listener, _ANSWER, answer)
        except OSError:
            return  # it died meanwhile
        self.forks += granted

    def _may_fork(self) -> bool:
        if self.forks >= PIECES_MAX:
            return False
        if self._drawers_max is None:
            self._drawers_max = self._divide_memory()
        return len(self.children()) < self._drawers_max

    def _divide_memory(self) -> int:
        """Give each process its part of the job's memory, for good. How many drawers that is."""
        used = int(self._read("statm").split()[0]) * os.sysconf("SC_PAGE_SIZE") - self._base
        drawers = min(self._cores, self._memory // max(1, used + self._need) - 1)
        if drawers < 2:
            return 0
        part = self._base + self._memory // (drawers + 1)
        try:
            resource.prlimit(self._job, resource.RLIMIT_AS, (part, part))
        except (OSError, ValueError):
            return 0
        return drawers

    def _read(self, name: str, pid: int | None = None) -> bytes:
        return process.read(self._proc, f"{pid or self._job}/{name}")

    def children(self) -> list[int]:
        """The drawers, the oldest first; those that ended and were not waited for included."""
        try:
            return [int(pid) for pid in self._read(f"task/{self._job}/children").split()]
        except OSError:
            return []

    def usage(self) -> Usage:
        """Of all processes together. Who ends meanwhile is left out."""
        cpu_s, memory = 0.0, 0
        for pid in (self._job, *self.children()):
            # A drawer has no children; the job's are those that it has waited for.
            cpu_s += process.cpu_s(self._proc, pid)
            try:
                shares = (line.split() for line in self._read("smaps_rollup", pid).splitlines())
                memory += sum(int(share[1]) * 1024 for share in shares if share[0] == b"Pss:")
            except (OSError, ValueError, IndexError):
                pass
        return Usage(cpu_s, memory)

    def close(self) -> None:
        """The job is dead."""
        for fd in (self._way.fileno(), self._listener):
            if fd is not None:
                self._loop.unwatch(fd)
        self._way.close()
        if self._listener is not None:
            os.close(self._listener)
            self._listener = None
