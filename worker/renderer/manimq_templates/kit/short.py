"""Words that are cut, and numbers that are rounded, where they would become too small to read."""

from __future__ import annotations

from typing import Any

from .numbers import given, num
from .text import Lines, clean

_LEAST = 0.55
"""Of the size that was asked for."""


def short(scene: Any, written: object, size: float | str, width: float, **more: Any) -> Lines:
    """One line of text at most that wide; what does not fit at a readable size is an ellipsis."""
    written = clean(written) or " "
    whole = scene.text(written, size, lines_max=1, **more)
    if whole.width * _LEAST > width:
        keep = max(1, int(len(written) * width / (whole.width * _LEAST)) - 1)
        written = written[:keep].rstrip() + "…"
    return scene.text(written, size, width=width, lines_max=1, **more)


def numeral(scene: Any, value: float, size: float | str, width: float, unit: str = "", **more: Any) -> Lines:
    """A number on one line with the digits that it was given, or as many as can be read."""
    for written in dict.fromkeys([given(value), num(value, 6), num(value, 4)]):
        made = scene.text(f"{written} {unit}".strip(), size, width=width, lines_max=1, **more)
        if made.shrunk >= _LEAST:
            break
    return made
