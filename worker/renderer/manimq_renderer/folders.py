"""Folders that somebody else has filled: measured and removed without trust.

For level ``container``, where a job's folder is an ordinary one. Nothing follows a
link, nothing is as deep on our side as a tree can be on theirs.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

_DEPTH_MAX = 64
"""Deeper folders are nobody's need; a path of the longest length has some 2000."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Uncountable(Exception):
    """There are folders in folders beyond all measure, or one is closed again whenever we have opened it."""


@dataclass(slots=True)
class Size:
    """What a folder holds."""

    bytes: int = 0
    files: int = 0


def measure(path: str, files_max: int) -> Size:
    """Bytes on disk and number of entries below ``path``, which may change meanwhile.

    Stops counting above ``files_max``.

    Raises:
        Uncountable: nobody could count that.
    """
    size = Size()
    top = os.open(path, _OPEN)
    try:
        _measure(top, size, files_max, 0)
    finally:
        os.close(top)
    return size


def _measure(folder: int, size: Size, files_max: int, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise Uncountable
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            size.files += 1
            if size.files > files_max:
                return
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            size.bytes += info.st_blocks * 512
            if stat.S_ISDIR(info.st_mode):
                below.append(entry.name)
    for name in below:
        try:
            inner = _open_folder(folder, name)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone, or another thing by now
        except PermissionError:
            raise Uncountable from None  # another one took its place between our two calls: nobody's need
        try:
            _measure(inner, size, files_max, depth + 1)
        finally:
            os.close(inner)


def _open_folder(parent: int, name: str) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)  # made so that nobody looks into it
        return os.open(name, _OPEN, dir_fd=parent)


def remove(path: str) -> None:
    """Remove a folder and all in it. Its writers are dead.

    Works two levels deep at a time: what is deeper is moved up first.
    """
    top = os.open(path, _OPEN)
    moved = 0
    try:
        while folders := _empty(top):
            for name in folders:
                inner = _open_folder(top, name)
                try:
                    for below in _empty(inner):
                        # Made writable, or a folder cannot be moved out of its parent.
                        os.close(_open_folder(inner, below))
                        os.chmod(below, 0o700, dir_fd=inner)
                        moved += 1
                        os.rename(below, _unused(top, moved), src_dir_fd=inner, dst_dir_fd=top)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(folder: int) -> list[str]:
    """Unlink what is no folder, and say which folders are left."""
    os.fchmod(folder, 0o700)
    left = []
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            left.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return left


def _unused(folder: int, number: int) -> str:
    while True:
        name = f"moved-{number}-{os.urandom(8).hex()}"
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return name
