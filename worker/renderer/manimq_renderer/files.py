"""What comes with a scene: unpacked by the job itself, behind its walls.

The descriptor holds the files one after the other, and then the source. Job and scout
share it and its position, so it is read by offsets only. What a job may write bounds
what it unpacks; names were checked by API and worker, and a wrong one would meet Landlock.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

_CHUNK = 1024 * 1024


def unpack(fd: int, entries: Sequence[tuple[str, int]], folder: str) -> bytes:
    """Put the files below ``folder`` and return the source."""
    offset = 0
    for name, size in entries:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            end = offset + size
            while offset < end:
                chunk = os.pread(fd, min(_CHUNK, end - offset), offset)
                if not chunk:
                    raise EOFError(f"{name} ends too early")
                file.write(chunk)
                offset += len(chunk)
    source = bytearray()
    while chunk := os.pread(fd, _CHUNK, offset + len(source)):
        source += chunk
    return bytes(source)
