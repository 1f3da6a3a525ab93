"""Turns the pictures of a film into what its encoder takes, without doing work twice.

From one picture of an animation to the next most rows stay as they are, and
turning RGBA into YUV costs as much as half of the encoding. So only a band of
rows around those that changed is converted, and put into the last frame. The
result is the same, bit for bit, as that of converting the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_REACH = 8
"""Rows above and below a changed one that its colour may reach; more than it does."""
_BAND_STEP = 32
"""Bands have a multiple of so many rows: each height needs a converter of its own."""
_WORTH_IT = 0.7
"""A band of more of the picture than this saves nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What to do to the last frame to get the next one."""

    converted: Any
    """A frame of the whole width; None if nothing is to be done."""
    top: int = 0
    """Row of the picture where it begins."""
    first: int = 0
    end: int = 0
    """Rows of the picture to take from it; ``end`` is 0 for a whole frame."""

    def apply(self, frame: Any) -> Any:
        """The next frame. ``frame``, the last one, is changed in place, or dropped."""
        if self.converted is None:
            return frame
        if self.end == 0:
            return self.converted
        for plane, new, scale in zip(frame.planes, self.converted.planes, (1, 2, 2), strict=True):
            first, end, top = self.first // scale, self.end // scale, self.top // scale
            _rows(plane)[first:end] = _rows(new)[first - top : end - top]
        return frame


def _rows(plane: Any) -> Any:
    """The pixels of a plane, without what lies between its rows."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


class Converter:
    """RGBA pictures of one size, one after the other, into a pixel format."""

    def __init__(self, width: int, height: int, pixel_format: str) -> None:
        self._height, self._format = height, pixel_format
        self._reformatters: dict[int, VideoReformatter] = {}
        # Other formats, and odd heights, place a row's colours in another way.
        by_rows = pixel_format == "yuv420p" and width % 2 == 0 and height % 2 == 0
        self._differs = np.empty((height, width // 2), bool) if by_rows else None
        self._pixels: Any = None

    def convert(self, pixels: Any) -> tuple[Change, Any]:
        """What the picture changes, and the array that is not needed any more, if one is.

        ``pixels`` is kept, and must stay as it is, until it is given back.
        """
        before, self._pixels = self._pixels, pixels
        if before is None or self._differs is None:
            return Change(self._convert(pixels)), before
        one, other = (each.reshape(self._height, -1).view(np.uint64) for each in (before, pixels))
        np.not_equal(one, other, out=self._differs)
        rows = np.flatnonzero(self._differs.any(axis=1))
        if rows.size == 0:
            return Change(None), before
        first, end = int(rows[0]), int(rows[-1]) + 1
        if end - first > self._height * _WORTH_IT:
            return Change(self._convert(pixels)), before
        return self._band(pixels, first, end), before

    def _band(self, pixels: Any, first: int, end: int) -> Change:
        # What to replace, and around it what the converter must see to get it right.
        first, end = max(0, first - _REACH) & ~1, min(self._height, (end + _REACH + 1) & ~1)
        top = max(0, first - _REACH)
        rows = -(-(end + _REACH - top) // _BAND_STEP) * _BAND_STEP
        bottom = min(self._height, top + rows)
        top = max(0, bottom - rows)
        return Change(self._convert(pixels[top:bottom]), top, first, end)

    def _convert(self, pixels: Any) -> Any:
        height = pixels.shape[0]
        reformatter = self._reformatters.get(height)
        if reformatter is None:
            reformatter = self._reformatters[height] = VideoReformatter()
        picture = av.VideoFrame.from_numpy_buffer(pixels, format="rgba")
        return reformatter.reformat(picture, format=self._format, threads=1)
