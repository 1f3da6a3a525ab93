"""Stills that stand for the film: the picture with most on it, of those that end an animation, and
while it is being drawn, an early one."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .collect import EARLY, EARLY_BYTES_MAX

WIDTH_MAX = 640
_STEP = 16
"""Every so many pixels are looked at, both ways."""
_WORTH_IT = 1.05
"""So much more must be on a picture than on the one that is kept: making one small takes milliseconds."""
_EARLY_AFTER_S = 1.0
"""From the first frame to the early still: whoever has the film sooner needs none."""
_EARLY_LOOK_S = 0.25
"""Between two looks for a picture with anything on it."""


def _ink(pixels: Any) -> int:
    sample = np.ascontiguousarray(pixels[::_STEP, ::_STEP]).view(np.uint32)
    return int(np.count_nonzero(sample != sample[0, 0]))


def _small(pixels: Any) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    return picture.reduce(-(-picture.width // WIDTH_MAX)).convert("RGB")


class Poster:
    """The best picture so far, made small."""

    def __init__(self) -> None:
        self._ink = -1
        self._picture: Image.Image | None = None

    def offer(self, pixels: Any) -> None:
        """A picture that might be it."""
        if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
            return
        ink = _ink(pixels)
        if self._picture is None or ink > self._ink * _WORTH_IT:
            self._ink, self._picture = ink, _small(pixels)

    @property
    def picture(self) -> Image.Image | None:
        """The best so far, if there is anything on it."""
        return self._picture if self._ink > 0 else None

    def save(self, path: Path) -> None:
        """Write it as a JPEG, if there is one."""
        if self._picture is not None:
            self._picture.save(path, "JPEG", quality=82)

    def leave(self, piece: Path) -> None:
        """Write it beside a piece of the film, for the process that joins them."""
        self.save(piece.with_suffix(f".{self._ink}.jpg"))

    def take(self, pieces: Path) -> None:
        """Take over the best of those that were left in a folder."""
        for path in sorted(pieces.glob("piece*.*.jpg")):
            ink = int(path.suffixes[0][1:])
            if ink > self._ink:
                with Image.open(path, formats=["JPEG"]) as picture:
                    picture.load()
                    self._ink, self._picture = ink, picture
            path.unlink()


class Early:
    """One small still, as soon as there is something to be seen: for who looks while the film is being drawn."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        """``say`` tells the guard that it is there."""
        self._say = say
        self._due: float | None = None
        self._over = False

    def look(self, poster: Poster, pixels: Any) -> None:
        """A picture was drawn."""
        if self._over:
            return
        now = time.monotonic()
        if self._due is None:
            self._due = now + _EARLY_AFTER_S
        if now < self._due:
            return
        self._due = now + _EARLY_LOOK_S
        try:
            self._over = self._leave(poster, pixels)
        except Exception:  # noqa: BLE001 - whatever the scene did to its folder: no still is worth a film
            self._over = True

    def _leave(self, poster: Poster, pixels: Any) -> bool:
        if os.path.lexists(EARLY):
            return True  # of several processes that draw, another was first
        picture = poster.picture
        if picture is None:
            if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8 or _ink(pixels) == 0:
                return False
            picture = _small(pixels)
        for quality in (75, 30):
            jpeg = io.BytesIO()
            picture.save(jpeg, "JPEG", quality=quality)
            if jpeg.tell() <= EARLY_BYTES_MAX:
                whole = Path(f"{EARLY}.{os.getpid()}")
                whole.write_bytes(jpeg.getvalue())
                whole.rename(EARLY)
                self._say({"e": "still"})
                break
        return True
