"""``python -m manimq_templates.previews [ID…]``: makes the preview of each template anew.

A picture of 480×270 of the default fixture, at most 30 kB, beside its scene. To be
run by hand after a template's look has changed; the pictures are part of the source.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

from . import folder, ids
from .rehearsal import rehearse

SIZE = (480, 270)
BYTES_MAX = 30_000
_LINES = 405
"""Drawn larger, so that thin lines are smooth."""


def make(template: str) -> int:
    """Render, shrink, write; the size in bytes."""
    # What the API does to parameters is done by the tests' helper: fixtures are ours.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from resolve import resolved_fixture

    with tempfile.TemporaryDirectory(prefix="preview-") as media:
        film = rehearse(template, resolved_fixture(template, "default"), "16:9", _LINES, 2, Path(media))
    small = film.still().resize(SIZE, Image.Resampling.LANCZOS)
    for quality in (88, 80, 70, 60, 45):
        packed = io.BytesIO()
        small.save(packed, "JPEG", quality=quality, optimize=True)
        if packed.tell() <= BYTES_MAX:
            break
    (folder(template) / "preview.jpg").write_bytes(packed.getvalue())
    return packed.tell()


def main() -> None:
    """Each in a child of its own: Manim's configuration is one per process."""
    for template in sys.argv[1:] or ids():
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                print(f"{template}: {make(template)} bytes", flush=True)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        if status:
            sys.exit(f"{template}: no preview")


if __name__ == "__main__":
    main()
