"""A still that stands for the film: the picture with most on it, of those that end an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH_MAX = 640
_STEP = 16
"""Every so many pixels are looked at, both ways."""
_WORTH_IT = 1.05
"""So much more must be on a picture than on the one that is kept: making one small takes milliseconds."""


class Poster:
    """The best picture so far, made small."""

    def __init__(self) -> None:
        self._ink = -1
        self._picture: Image.Image | None = None

    def offer(self, pixels: Any) -> None:
        """A picture that might be it."""
        if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
            return
        sample = np.ascontiguousarray(pixels[::_STEP, ::_STEP]).view(np.uint32)
        ink = int(np.count_nonzero(sample != sample[0, 0]))
        if self._picture is None or ink > self._ink * _WORTH_IT:
            picture = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
            self._ink, self._picture = ink, picture.reduce(-(-picture.width // WIDTH_MAX)).convert("RGB")

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
