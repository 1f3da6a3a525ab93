"""What a dead job has left, as messages to the worker: each with the file, opened and looked at."""

from __future__ import annotations

import os
from typing import Any

from . import collect, hints
from .probe import Probe
from .protocol import JobSpec, Limits

Message = tuple[dict[str, Any], tuple[int, ...]]
"""With its descriptors."""


def too_many_frames(limits: Limits) -> dict[str, Any]:
    """The failure of a job with too many frames."""
    return {
        "class": "output_limit",
        "message": f"the render has more frames than the limit of {limits.frames}",
        "hint": hints.FRAMES,
    }


class Result:
    """The files of one job."""

    def __init__(self, directory: int, spec: JobSpec, probe: Probe) -> None:
        """``directory`` is the job's folder. Raises ``collect.Refused`` if the film is not taken."""
        self._job_dir, self._spec, self._probe = directory, spec, probe
        kind = spec.format
        fd = collect.open_output(directory, collect.film_path(kind), spec.limits.output_bytes)
        self.media = probe.look(os.fstat(fd).st_ino)
        role = "image" if kind == "png" else "video"
        self.messages = [
            self._film(f"{role}.{kind}", role, fd, self.media),
            *self._section_films(),
            *self._extras(),
        ]

    def _film(self, name: str, role: str, fd: int, media: collect.Media) -> Message:
        """The message of a film or picture that is within the limits."""
        limits = self._spec.limits
        if media.frames > limits.frames:
            raise collect.Refused("output_limit", too_many_frames(limits)["message"], hints.FRAMES)
        if media.width * media.height > limits.pixels:
            raise collect.Refused(
                "output_limit",
                f"the pictures have {media.width}×{media.height} pixels, and {limits.pixels} pixels are the limit",
                hints.PIXELS,
            )
        message = {
            "type": "artifact",
            "name": name,
            "role": role,
            "mime": collect.MIME[self._spec.format],
            "bytes": os.fstat(fd).st_size,
            "frames": media.frames,
            "width": media.width,
            "height": media.height,
            "fps": media.fps,
            "duration_s": media.duration_s,
        }
        return message, (fd,)

    def _section_films(self) -> list[Message]:
        if not self._spec.sections:
            return []
        kind, bytes_max = self._spec.format, self._spec.limits.output_bytes
        found = collect.read_sections(self._job_dir, self._probe.said, kind, bytes_max)
        return [
            self._film(f"section-{number:02}.{kind}", "section", fd, media)
            for number, (fd, media) in enumerate(found, 1)
        ]

    def _extras(self) -> list[Message]:
        """What accompanies the film. What is odd about it is left out: the film counts."""
        extras = []
        poster = collect.read_poster(self._job_dir, self._probe.said)
        if poster is not None:
            fd, width, height = poster
            extras.append((self._extra("poster.jpg", "poster", "image/jpeg", fd, width, height), (fd,)))
        if self._spec.format != "png":
            fd_or_none = collect.read_subtitles(self._job_dir)
            if fd_or_none is not None:
                named = ("subtitles.srt", "subtitles", "application/x-subrip")
                extras.append((self._extra(*named, fd_or_none, 0, 0), (fd_or_none,)))
        return extras

    def _extra(self, name: str, role: str, mime: str, fd: int, width: int, height: int) -> dict[str, Any]:
        return {
            "type": "artifact",
            "name": name,
            "role": role,
            "mime": mime,
            "bytes": os.fstat(fd).st_size,
            "frames": 0,
            "width": width,
            "height": height,
            "fps": 0.0,
            "duration_s": 0.0,
        }
