"""What the guard sees of another process in /proc: how much processor time it used, and whether its first thread goes on."""

from __future__ import annotations

import os

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STATE, _FLAGS, _TIMES = 0, 6, slice(11, 15)
"""Of the fields behind a process's name."""
_EXITING = 0x4


Proc = int | None
"""A descriptor of /proc, for who has it covered; None for who sees it."""


def open_proc() -> int:
    """For who will have it covered."""
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _open(proc: Proc, name: str, flags: int = 0) -> int:
    return os.open(name if proc is not None else f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=proc)


def read(proc: Proc, name: str) -> bytes:
    """A file below /proc. Raises OSError: the process has ended."""
    with open(_open(proc, name), "rb") as file:
        return file.read()


def _fields(proc: Proc, name: str) -> list[bytes]:
    # A name may have spaces and parentheses of its own.
    return read(proc, name).rpartition(b")")[2].split()


def cpu_s(proc: Proc, pid: int) -> float:
    """Of all threads of ``pid``, and of the children that it has waited for; 0 if it has ended."""
    try:
        return sum(map(int, _fields(proc, f"{pid}/stat")[_TIMES])) * _TICK_S
    except (OSError, ValueError):
        return 0.0


def is_headless(proc: Proc, pid: int) -> bool:
    """Whether the first thread of ``pid`` has ended and others go on: nobody is shown its descriptors, mappings and children."""
    try:
        if _fields(proc, f"{pid}/stat")[_STATE] != b"Z":
            return False
        folder = _open(proc, f"{pid}/task", os.O_DIRECTORY)
        try:
            threads = os.listdir(folder)
        finally:
            os.close(folder)
    except (OSError, IndexError):
        return False
    return any(_goes_on(proc, pid, thread) for thread in threads if thread != str(pid))


def _goes_on(proc: Proc, pid: int, thread: str) -> bool:
    """Whether a thread is not about to end, as all are of a process that ends."""
    try:
        return not int(_fields(proc, f"{pid}/task/{thread}/stat")[_FLAGS]) & _EXITING
    except (OSError, IndexError, ValueError):
        return False
