"""What the processes of a slot say to each other, and how far they are believed.

* worker -> zygote: an empty message with three descriptors (source, log, channel) for
  each guard that it wants, ahead of the job. Believed.
* guard <-> worker: JSON messages on the channel, the first of them ``JobSpec``. Believed in
  both directions, but for the pictures of formulas in them: TeX that a tenant wrote has made those.
* guard -> job: ``JobSpec`` again, a line, before the job is confined. Believed.
* job -> guard: lines of JSON on a pipe that scene code can reach. **Hostile**:
  everything read from it goes through the ``clean_*`` functions, which bound
  type, range and length, before it is passed on.
* scout -> guard: the same, on a pipe of its own. **Hostile** as well.
* guard -> job, scout: a JSON header line and a body, on a second pipe each. Believed.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MESSAGE_BYTES_MAX = 128 * 1024
"""Longest message on the control socket and on a channel."""
EVENT_LINE_BYTES_MAX = 512 * 1024
"""Longest line from a job: a TeX text of 64 KiB, escaped, with room to spare."""
EVENT_BYTES_MAX = 64 * 1024 * 1024
"""All that a job may say in its life; an honest long film says about 1 MiB."""
EVENT_LINES_MAX = 100_000
"""Events in its life; an honest one says ten a second, and one per formula."""
SCOUT_BYTES_MAX = 16 * 1024 * 1024
"""All that a scout may say; formulas, and a line twice a second."""
SCOUT_LINES_MAX = 20_000
TEX_CHARS_MAX = 64 * 1024
SECTIONS_MAX = 12
"""Films of sections; a result has room for 16 files (``FILES_MAX`` in ``storage.rs``)."""
FAILURE_BYTES_MAX = 64 * 1024
"""Longest ``failed``, encoded: far below what the worker still takes."""
SECONDS_MAX = 10.0**9
"""Longest time that is believed."""
GAVE_UP = 72
"""Exit status of a process that cannot draw its part of a film that is split."""
ERROR_TEXT_CHARS_MAX = 4000
STACK_MAX = 12

HIDING = "\u00ad\u061c\u115f-\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"
"""Ranges that reorder or hide text, as ``is_harmful`` of the worker has them, and halves of characters."""
_HARMFUL = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{HIDING}]")

USER_CLASSES = frozenset(
    {
        "scene_error",
        "latex_error",
        "validation",
        "timeout",
        "out_of_memory",
        "output_limit",
        "sandbox_denied",
    }
)
"""Failure classes that a job may claim for itself. Never one of ours."""
DENIALS = frozenset({"network", "process", "files", "threads", "escape", "other"})
"""What a failure of the class ``sandbox_denied`` may be about. Mirrors ``Denial`` in ``worker/src/sandbox.rs``."""
STAGES = frozenset({"preparing", "rendering", "encoding"})
LAYOUT_KINDS = frozenset({"outside_frame", "text_overlap", "too_small", "blank_end", "frozen"})
LAYOUT_MAX = 16
"""Warnings about what a film shows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use. Mirrors ``Limits`` in ``worker/src/sandbox.rs``."""

    wall_s: float
    cpu_s: int
    memory_bytes: int
    output_bytes: int
    disk_bytes: int
    disk_files: int
    open_files: int
    threads: int
    frames: int
    pixels: int
    stall_s: float | None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job as the worker asked for it."""

    job_id: str
    attempt: int
    file_name: str
    template: bool
    """Whether the source is a template's id and parameters, as JSON."""
    scene: str | None
    format: str
    width: int
    height: int
    fps: float
    transparent: bool
    sections: bool
    """Whether each section is to be a film of its own as well."""
    encoder: str
    seed: int | None
    chance: str | None
    """What the random numbers of an unseeded scene follow from."""
    formulas: bool
    """Whether the worker keeps formulas of this job's tenant."""
    cores: int
    """How many cores the job may take. More than one only at level ``full``."""
    files: tuple[tuple[str, int], ...]
    """Name and size of what comes with the scene, in the order in which it precedes the source."""
    limits: Limits

    @classmethod
    def parse(cls, message: bytes) -> JobSpec:
        """Read the worker's message; unknown or missing fields are an error."""
        fields: dict[str, Any] = json.loads(message)
        fields["limits"] = Limits(**fields["limits"])
        fields["files"] = tuple((name, size) for name, size in fields["files"])
        return cls(**fields)

    @classmethod
    def rehearse(cls) -> None:
        """Do this once ahead of time: a fork copies each page of memory at its first use."""
        limits = Limits(0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None)
        nothing = cls("", 0, "", False, None, "", 0, 0, 0.0, False, False, "", None, None, False, 1, (), limits)
        cls.parse(nothing.line())

    def line(self) -> bytes:
        """The same for who was forked before it was known."""
        return json.dumps(asdict(self)).encode() + b"\n"


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message to the worker."""
    data = _encode(message)
    if fds:
        socket.send_fds(channel, [data], list(fds))
    else:
        channel.send(data)


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode(errors="replace")


def try_send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send a message that may be lost: progress, to a worker that is not reading."""
    try:
        channel.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)
    except OSError:
        pass


def write_all(fd: int, data: bytes) -> None:
    """Write to a blocking descriptor until everything is out."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_line(fd: int) -> bytes:
    """A line from a blocking pipe; without its end if the other side is gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        # One at a time: what follows is for somebody else.
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


def clean_text(value: object, limit: int = ERROR_TEXT_CHARS_MAX) -> str | None:
    """A harmless string of at most ``limit`` characters, or None."""
    if not isinstance(value, str):
        return None
    text = _HARMFUL.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", value[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean_count(value: object, limit: int = 2**53) -> int | None:
    """A whole number in ``0..=limit``, or None."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        return None
    return value


def clean_seconds(value: object) -> float | None:
    """A finite, non-negative number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and 0 <= number <= SECONDS_MAX else None


def clean_texts(value: object, items: int, limit: int) -> list[str]:
    """A list of at most ``items`` bounded strings."""
    if not isinstance(value, list):
        return []
    texts = (clean_text(item, limit) for item in value[:items])
    return [text for text in texts if text is not None]


def clean_layout(value: object) -> list[dict[str, Any]]:
    """What a job says is odd about its own picture: a few known kinds, a time, a harmless text."""
    warnings = []
    for entry in value[:LAYOUT_MAX] if isinstance(value, list) else []:
        if isinstance(entry, dict):
            kind, message = entry.get("kind"), clean_text(entry.get("message"), 250)
            if isinstance(kind, str) and kind in LAYOUT_KINDS and message:
                warnings.append({"kind": kind, "at_s": clean_seconds(entry.get("at_s")) or 0.0, "message": message})
    return warnings


def clean_failure(event: dict[str, Any], file_name: str) -> dict[str, Any]:
    """A job's own account of its failure, bounded and harmless; the worker's form of ``failed``."""
    claimed = event.get("class")
    stack = []
    raw_stack = event.get("stack")
    for entry in raw_stack[-STACK_MAX:] if isinstance(raw_stack, list) else []:
        if isinstance(entry, dict):
            line = clean_count(entry.get("line"))
            if line is not None:
                function = clean_text(entry.get("function"), 200) or "?"
                code = clean_text(entry.get("code"), 300)
                stack.append({"line": line, "function": function, "code": code})
    latex = event.get("latex")
    denied = event.get("denied")
    line = clean_count(event.get("line"))
    failure = {
        "type": "failed",
        "class": claimed if isinstance(claimed, str) and claimed in USER_CLASSES else "scene_error",
        "message": clean_text(event.get("message")) or "the scene failed without a message",
        "denied": denied if isinstance(denied, str) and denied in DENIALS else None,
        "file": file_name if line is not None else None,
        "line": line,
        "column": clean_count(event.get("column")),
        "end_column": clean_count(event.get("end_column")),
        "code": clean_text(event.get("code"), 500),
        "function": clean_text(event.get("function"), 200),
        "stack": stack,
        "hint": clean_text(event.get("hint"), 500),
        "scenes": clean_texts(event.get("scenes"), 100, 200),
        "latex": {
            "formula": clean_text(latex.get("formula"), 1000),
            "errors": clean_texts(latex.get("errors"), 5, 500),
        }
        if isinstance(latex, dict)
        else None,
    }
    _fit(failure)
    return failure


def _fit(failure: dict[str, Any]) -> None:
    """Take away the least useful until the message has a size that can be sent."""
    for name, empty in (("scenes", []), ("stack", []), ("latex", None)):
        if len(_encode(failure)) <= FAILURE_BYTES_MAX:
            return
        failure[name] = empty
    while len(_encode(failure)) > FAILURE_BYTES_MAX and len(failure["message"]) > 1:
        failure["message"] = failure["message"][: len(failure["message"]) // 2] + "…"
