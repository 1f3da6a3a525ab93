"""Looks after what the kernel does not bound at level ``container``.

A resource limit is per file or per user, never per folder or per job. So the
guard looks a few times a second and ends the job that has passed its limit: it
may have gone somewhat further by then. At level ``full`` mounts and namespaces
do this exactly, and nobody watches.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from . import folders, hints, process, walls
from .protocol import Limits

EVERY_S = 0.2
LATEST_S = 2.0
"""From one look to the next, however long a look takes."""
_MAPS_BYTES_MAX = 8 * 2**20
"""Of what a process has mapped; a render's is some 200 kB. Who maps more, page by page of files with long names, is not
counted for minutes: he has too much."""
_UNCOUNTED = 2**62
_DELETED = b" (deleted)"
_REWRITES_MAX = 4
"""How often a job may write its whole folder anew, films in pieces included."""


def excess(pid: int, limits: Limits) -> dict[str, Any] | None:
    """The failure of a job that has more than it may have; None if there is none."""
    threads = _threads(pid)
    if threads > limits.threads:
        return too_many_threads(limits)
    return _files_excess(pid, limits)


def _files_excess(pid: int, limits: Limits) -> dict[str, Any] | None:
    disk, files = 0, 0
    try:
        for folder in (walls.JOB_DIR, walls.TMP_DIR):
            size = folders.measure(folder, limits.disk_files)
            disk += size.bytes
            files += size.files
    except folders.Uncountable:
        return {
            "class": "output_limit",
            "message": "the render made folders that cannot be counted: too deep in each other, or closed to everybody",
            "hint": hints.DEPTH,
        }
    if files > limits.disk_files:
        return too_many_files(limits)
    # What is open has no name any more, or has been counted by it.
    if disk + _nameless(pid, limits.output_bytes) > limits.disk_bytes:
        return too_much_data(limits)
    if _written(pid) > limits.disk_bytes * _REWRITES_MAX:
        return {
            "class": "output_limit",
            "message": f"the render wrote its folder's {limits.disk_bytes // 2**20} MiB more than {_REWRITES_MAX} times",
            "hint": hints.DATA,
        }
    return None


def too_many_threads(limits: Limits) -> dict[str, Any]:
    """The failure of a job with too many threads."""
    return {
        "class": "sandbox_denied",
        "denied": "threads",
        "message": f"the render started more threads than the limit of {limits.threads}",
        "hint": hints.THREADS,
    }


def too_many_files(limits: Limits) -> dict[str, Any]:
    """The failure of a job with too many files."""
    return {
        "class": "output_limit",
        "message": f"the render made more files than the limit of {limits.disk_files}",
        "hint": hints.FILES,
    }


def too_much_data(limits: Limits) -> dict[str, Any]:
    """The failure of a job that has filled its folder."""
    return {
        "class": "output_limit",
        "message": f"the render filled its folder up to the limit of {limits.disk_bytes // 2**20} MiB",
        "hint": hints.DATA,
    }


def too_much(folder: str, bytes_max: int, files_max: int, pid: int | None = None) -> bool:
    """Whether a helper's folder has more than it may have; with what ``pid`` keeps that has no name there."""
    try:
        size = folders.measure(folder, files_max)
    except folders.Uncountable:
        return True
    except FileNotFoundError:
        return False  # it has just been collected
    held = 0
    if pid is not None:
        if process.is_headless(None, pid) or _written(pid) > bytes_max * _REWRITES_MAX:
            return True
        held = _nameless(pid, bytes_max)
    return size.bytes + held > bytes_max or size.files > files_max


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0  # it has just ended


def _nameless(pid: int, file_bytes_max: int) -> int:
    """Bytes of files that are open or mapped and that no folder shows any more.

    Of one that is only mapped nobody can ask how large it is, and one page of it holds all: it counts
    as large as a file can be. Whatever maps files in an honest scene keeps them open.
    """
    held: dict[int, int] = {}
    area = os.fsencode(f" {walls.area()}/")
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            data = maps.read(_MAPS_BYTES_MAX)
    except OSError:
        data = b""
    if len(data) == _MAPS_BYTES_MAX:
        return _UNCOUNTED
    # Text has other ends of lines, which a name may have in it; this one the kernel writes as \012 there.
    for line in data.split(b"\n"):
        if line.endswith(_DELETED) and area in line:
            held[int(line.split(maxsplit=5)[4])] = file_bytes_max
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        names = []
    for name in names:
        try:
            info = os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue  # just closed
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 0:
            held[info.st_ino] = info.st_blocks * 512
    return sum(held.values())


def _written(pid: int) -> int:
    """All bytes that the process has written, wherever they went."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            fields = dict(line.split(": ") for line in file.read().splitlines())
        return int(fields["wchar"])
    except (OSError, KeyError, ValueError):
        return 0  # it has ended, or this kernel does not count
