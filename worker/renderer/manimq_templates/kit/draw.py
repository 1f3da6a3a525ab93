"""Small figures that several templates draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from manim import Dot, Line, Polygon, VGroup

_TIP = 0.26


def arrow(start: Any, end: Any, colour: str, width: float = 5, tip: float = _TIP) -> VGroup:
    """A line with a head; a dot where it has no length. ``[0]`` is the line, ``[1]`` the head."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    length = float(np.linalg.norm(end - start))
    if length < 1e-3:
        return VGroup(Line(start, start + [1e-4, 0, 0], color=colour, stroke_width=0), Dot(end, radius=0.07, color=colour))
    way = (end - start) / length
    across = np.array([-way[1], way[0], 0.0])
    tip = min(tip, 0.6 * length)
    neck = end - tip * way
    head = Polygon(end, neck + 0.42 * tip * across, neck - 0.42 * tip * across, stroke_width=0, fill_color=colour, fill_opacity=1)
    return VGroup(Line(start, neck + 0.2 * tip * way, color=colour, stroke_width=width), head)


def clipped_segment(
    start: tuple[float, float], end: tuple[float, float], x: tuple[float, float], y: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """What of a segment lies in a rectangle (Liang and Barsky)."""
    (x0, y0), (x1, y1) = start, end
    low, high = 0.0, 1.0
    for delta, from_, (least, most) in ((x1 - x0, x0, x), (y1 - y0, y0, y)):
        for p, q in ((-delta, from_ - least), (delta, most - from_)):
            if abs(p) < 1e-12:
                if q < 0:
                    return None
                continue
            at = q / p
            low, high = (max(low, at), high) if p < 0 else (low, min(high, at))
    if low > high:
        return None
    return (x0 + low * (x1 - x0), y0 + low * (y1 - y0)), (x0 + high * (x1 - x0), y0 + high * (y1 - y0))
