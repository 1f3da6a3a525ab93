"""How the programs of this folder talk to the worker (``frames.rs`` reads it), and hide from scenes.

Their output travels through a sandbox provider's log stream, which puts words of its own
anywhere: so a message is a line of base64 with a checksum and a number.
"""

from __future__ import annotations

import binascii
import json
import os
from typing import Any


class Frames:
    """Writes numbered messages to standard output."""

    def __init__(self) -> None:
        self._next = 0

    def send(self, message: dict[str, Any]) -> None:
        """Write one message, whole."""
        text = json.dumps({"n": self._next, "m": message}).encode()
        self._next += 1
        line = b"~%b.%08x\n" % (binascii.b2a_base64(text, newline=False), binascii.crc32(text))
        view = memoryview(line)
        while view:
            view = view[os.write(1, view) :]


_PR_SET_DUMPABLE = 4


def hide() -> None:
    """Let nobody of our user look into this process: memory, environment, descriptors.

    Where the sandbox's processes are not root's, scenes are of the same user. Landlock and the
    filters keep them out; this does, should those not. Each program does it anew, because
    becoming a program undoes it.
    """
    if os.geteuid() == 0:
        return  # scenes are of another user, and nobody looks into root's processes
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_DUMPABLE")
