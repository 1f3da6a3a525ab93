"""Coordinate systems: nice ticks, multiples of π, and curves that are cut at poles and at the edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from manim import Dot, Line, Polygon, VGroup, VMobject

from .layout import Box, halo
from .numbers import num
from .text import text
from .theme import Theme

_SAMPLES = 480
_SAMPLES_MAX = 6000
_HALVINGS = 12
_STEEP = 8
_OFF = 0.0025
"""In the frame's units, a third of a pixel at 1080 lines: how far a graph may be from the line that stands for it."""


def nice_step(span: float, wanted: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that gives about that many ticks."""
    raw = max(span, 1e-9) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= raw * 0.999)


def ticks_between(low: float, high: float, step: float) -> list[float]:
    """All multiples of the step in the range."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, min(last, first + 60) + 1)]


def in_pi(low: float, high: float) -> bool:
    """Whether a range's ends are multiples of π/4, and not only of zero."""
    quarter = [end / (math.pi / 4) for end in (low, high)]
    return any(abs(q) > 0.5 for q in quarter) and all(abs(q - round(q)) < 1e-3 for q in quarter)


def pi_text(number: float) -> str:
    """A multiple of π/12 as people write it."""
    twelfths = round(number / (math.pi / 12))
    if twelfths == 0:
        return "0"
    divisor = math.gcd(twelfths, 12)
    top, bottom = twelfths // divisor, 12 // divisor
    front = {1: "π", -1: "−π"}.get(top, f"{top}π".replace("-", "−"))
    return front if bottom == 1 else f"{front}/{bottom}"


def _digits(low: float, high: float, step: float) -> int:
    """How many digits tell the numbers of two ticks apart."""
    return int(min(10, max(4, math.ceil(math.log10(max(abs(low), abs(high), step) / step)) + 1)))


class Plot(VGroup):
    """Axes in a box. ``c2p`` goes from numbers to the frame; curves never leave the box."""

    def __init__(
        self,
        theme: Theme,
        box: Box,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        pi: bool | None = None,
        names: tuple[str, str] = ("x", "y"),
        equal: bool = False,
        labels: bool = True,
        grid: bool = True,
        axis: bool = True,
    ) -> None:
        super().__init__()
        self.theme, self.x_range, self.y_range = theme, _wide(x), _wide(y)
        self.pi = in_pi(*self.x_range) if pi is None else pi
        room = Box(box.left + 0.45, box.bottom + 0.42, box.width - 0.85, box.height - 0.75) if labels else box.inset(0.05)
        if not labels and any(names):
            room = Box(box.left + 0.05, box.bottom + 0.05, box.width - 0.5, box.height - 0.5)
        if equal:
            unit = min(room.width / self._span(0), room.height / self._span(1))
            wide, tall = unit * self._span(0), unit * self._span(1)
            room = Box(room.x - wide / 2, room.y - tall / 2, wide, tall)
        self.room = room
        self.grid, self.axes, self.marks, self.tick_labels, self.names = VGroup(), VGroup(), VGroup(), VGroup(), VGroup()
        if grid:
            self._draw_grid()
        if axis:
            self._draw_axes(names)
        if labels:
            self._draw_labels(bool(axis))
        self.add(self.grid, self.axes, self.marks, self.tick_labels, self.names)

    # ------------------------------------------------------------- coordinates

    def _span(self, which: int) -> float:
        low, high = (self.x_range, self.y_range)[which]
        return high - low

    def c2p(self, x: Any, y: Any) -> np.ndarray:
        """The point of the frame; arrays give one row a point."""
        room = self.room
        across = room.left + (np.asarray(x, dtype=float) - self.x_range[0]) / self._span(0) * room.width
        up = room.bottom + (np.asarray(y, dtype=float) - self.y_range[0]) / self._span(1) * room.height
        return np.stack(np.broadcast_arrays(across, up, 0.0), axis=-1)

    def unit(self) -> tuple[float, float]:
        """The length of one, across and up."""
        return self.room.width / self._span(0), self.room.height / self._span(1)

    def holds(self, x: float, y: float, slack: float = 0.0) -> bool:
        """Whether the point is inside the ranges."""
        dx, dy = slack * self._span(0), slack * self._span(1)
        return bool(
            self.x_range[0] - dx <= x <= self.x_range[1] + dx and self.y_range[0] - dy <= y <= self.y_range[1] + dy
        )

    # -------------------------------------------------------------- the drawing

    def _steps(self) -> tuple[float, float]:
        room = self.room
        if self.pi:
            across = next(
                (math.pi * k for k in (1 / 4, 1 / 2, 1, 2, 4, 8, 16) if self._span(0) / (math.pi * k) <= room.width / 1.05),
                nice_step(self._span(0), 6),
            )
        else:
            across = nice_step(self._span(0), max(3, int(room.width / 1.15)))
        return across, nice_step(self._span(1), max(2, int(room.height / 0.7)))

    def _draw_grid(self) -> None:
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        dx, dy = self._steps()
        for at in ticks_between(x0, x1, dx):
            self.grid.add(self._line((at, y0), (at, y1), self.theme.faint, self.theme.hair * 0.75))
        for at in ticks_between(y0, y1, dy):
            self.grid.add(self._line((x0, at), (x1, at), self.theme.faint, self.theme.hair * 0.75))

    def _zero(self) -> tuple[float, float]:
        """Where the axes cross: at zero, or at the edge that is nearest to it."""
        return float(np.clip(0, *self.x_range)), float(np.clip(0, *self.y_range))

    def _draw_axes(self, names: tuple[str, str]) -> None:
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        ox, oy = self._zero()
        for start, end in (((x0, oy), (x1, oy)), ((ox, y0), (ox, y1))):
            self.axes.add(self._line(start, end, self.theme.muted, self.theme.hair * 1.4))
        dx, dy = self._steps()
        tick = 0.07
        for at in ticks_between(x0, x1, dx):
            p = self.c2p(at, oy)
            self.marks.add(Line(p - [0, tick, 0], p + [0, tick, 0], color=self.theme.muted, stroke_width=self.theme.hair))
        for at in ticks_between(y0, y1, dy):
            p = self.c2p(ox, at)
            self.marks.add(Line(p - [tick, 0, 0], p + [tick, 0, 0], color=self.theme.muted, stroke_width=self.theme.hair))
        for name, end, way in ((names[0], (x1, oy), 0), (names[1], (ox, y1), 1)):
            if name:
                label = text(self.theme, name, "small", color=self.theme.muted, slant="ITALIC", width=1.6, lines_max=1)
                p = self.c2p(*end)
                reach = label.width / 2 + 0.12
                label.move_to(p + ([reach, 0.0, 0] if way == 0 else [0, 0.22, 0]))
                if way == 0 and label.get_right()[0] > self.room.right + 0.4:
                    label.move_to(p + [0.4 - label.width / 2, 0.25, 0])
                self.names.add(label)

    def _draw_labels(self, axis: bool) -> None:
        ox, oy = self._zero()
        dx, dy = self._steps()
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        inside = axis and x0 < ox < x1
        past = -math.inf
        for at in ticks_between(x0, x1, dx):
            if abs(at) < dx * 1e-6 and axis and (inside or oy != y0):
                continue
            label = self._label(pi_text(at) if self.pi else num(at, _digits(x0, x1, dx)))
            label.move_to(self.c2p(at, oy) - [0, 0.25, 0])
            if label.get_left()[0] > past + 0.12:
                self.tick_labels.add(label)
                past = label.get_right()[0]
        for at in ticks_between(y0, y1, dy):
            if abs(at) < dy * 1e-6 and axis and y0 < oy + 1e-12:
                continue
            label = self._label(num(at, _digits(y0, y1, dy)))
            p = self.c2p(ox, at)
            label.move_to(p - [label.width / 2 + 0.14, 0, 0])
            if label.get_left()[0] < self.room.left - 0.62:
                label.move_to(p + [label.width / 2 + 0.14, 0.0, 0])
            if all(apart(label, other) for other in (*self.tick_labels, *self.names)):
                self.tick_labels.add(label)

    def _label(self, written: str) -> VMobject:
        return halo(text(self.theme, written, "tiny", color=self.theme.muted, lines_max=1), self.theme.background, 5)

    def _line(self, start: Sequence[float], end: Sequence[float], colour: str, width: float) -> Line:
        return Line(self.c2p(*start), self.c2p(*end), color=colour, stroke_width=width)

    def line(self, start: Sequence[float], end: Sequence[float], colour: str, width: float | None = None) -> Line:
        """A segment between two points given in numbers."""
        return self._line(start, end, colour, width or self.theme.stroke)

    def dot(self, x: float, y: float, colour: str, radius: float = 0.09) -> Dot:
        """A dot at a point given in numbers."""
        return Dot(self.c2p(x, y), radius=radius, color=colour)

    # --------------------------------------------------------------- the curves

    def curve(
        self,
        f: Callable[[np.ndarray], np.ndarray],
        colour: str,
        start: float | None = None,
        end: float | None = None,
        width: float | None = None,
    ) -> VGroup:
        """The graph, one piece for each stretch on which it is there and inside the box."""
        low = self.x_range[0] if start is None else max(start, self.x_range[0])
        high = self.x_range[1] if end is None else min(end, self.x_range[1])
        drawn = VGroup()
        for piece in self.pieces(f, low, high):
            path = VMobject(stroke_color=colour, stroke_width=width or self.theme.stroke)
            path.set_points_as_corners(self.c2p(piece[:, 0], piece[:, 1]))
            drawn.add(path)
        return drawn

    def pieces(self, f: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> list[np.ndarray]:
        """Polylines (x, y) of the graph: cut at poles, jumps and gaps, clipped to the y range."""
        if high <= low:
            return []
        x, y = self._samples(f, low, high)
        pieces: list[list[tuple[float, float]]] = []
        for i in range(len(x) - 1):
            start, end = (float(x[i]), float(y[i])), (float(x[i + 1]), float(y[i + 1]))
            here, there = math.isfinite(start[1]), math.isfinite(end[1])
            if here != there:
                edge = _domain_edge(f, start[0], end[0], starts=there)
                start, end = (start, edge) if here else (edge, end)
            elif not here:
                continue
            clipped = _clipped(start, end, *self.y_range)
            if clipped is None or (here and there and not self._joined(f, start, end)):
                continue
            if not pieces or pieces[-1][-1] != clipped[0]:
                pieces.append([clipped[0]])
            pieces[-1].append(clipped[1])
        # (-1)^(-1) is a point of x^x, and a point is no line.
        return [np.array(each) for each in pieces if len(set(each)) > 1]

    def _samples(self, f: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Points of the graph, closer where it bends, and the points at which it begins and ends."""
        x = np.linspace(low, high, _SAMPLES)
        x, y = self._refined(f, x, np.asarray(f(x), dtype=float))
        there = np.isfinite(y)
        mixed = np.flatnonzero(there[:-1] != there[1:])
        if len(mixed) and len(mixed) < _SAMPLES:
            edges = np.array([_domain_edge(f, float(x[i]), float(x[i + 1]), starts=bool(there[i + 1])) for i in mixed])
            x, y = np.insert(x, mixed + 1, edges[:, 0]), np.insert(y, mixed + 1, edges[:, 1])
            # ln x falls without end on its last step.
            x, y = self._refined(f, x, y)
        return x, y

    def _refined(self, f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps are halved until each is as good as straight."""
        rough = np.arange(len(x) - 1)
        for _ in range(_HALVINGS):
            start, end = (x[rough], y[rough]), (x[rough + 1], y[rough + 1])
            bent = np.zeros(len(rough), dtype=bool)
            for share in (0.5, 0.21):  # two, as a wave may cross its chord in the middle
                bent |= self._bent(f, start, end, share)
            rough = rough[bent]
            if not len(rough) or len(x) + len(rough) > _SAMPLES_MAX:
                break
            middle = (x[rough] + x[rough + 1]) / 2
            x, y = np.insert(x, rough + 1, middle), np.insert(y, rough + 1, np.asarray(f(middle), dtype=float))
            left = rough + np.arange(len(rough))
            rough = np.stack([left, left + 1], axis=1).ravel()
        return x, y

    def _bent(
        self, f: Callable[[np.ndarray], np.ndarray], start: tuple[np.ndarray, np.ndarray], end: tuple[np.ndarray, np.ndarray], share: float
    ) -> np.ndarray:
        """Where the graph leaves the line between two of its points, in what can be seen of it."""
        (xa, ya), (xb, yb) = start, end
        ym = np.asarray(f(xa + share * (xb - xa)), dtype=float)
        across, up = self.unit()
        heights = np.stack([ya, yb, ym])
        there = np.isfinite(heights).sum(axis=0)
        with np.errstate(all="ignore"):
            seen = (heights.max(axis=0) >= self.y_range[0]) & (heights.min(axis=0) <= self.y_range[1])
            off = np.abs(ym - ya - share * (yb - ya)) * up / np.hypot(1.0, (yb - ya) * up / ((xb - xa) * across))
            return ((there > 0) & (there < 3)) | ((there == 3) & seen & (off > _OFF))

    def _joined(self, f: Callable[[np.ndarray], np.ndarray], start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether the graph goes from one sample to the next without a jump: the jump shrinks with the step."""
        low, high = self.y_range[0] - self._span(1), self.y_range[1] + self._span(1)

        def seen(y: float) -> float:
            return min(max(y, low), high)

        least = 3 * _OFF / self.unit()[1]
        (xa, ya), (xb, yb) = (start[0], seen(start[1])), (end[0], seen(end[1]))
        for _ in range(40):
            if abs(yb - ya) < least:
                return True
            middle = (xa + xb) / 2
            ym = float(np.asarray(f(np.array([middle])))[0])
            if not math.isfinite(ym):
                return False
            ym = seen(ym)
            if abs(ym - ya) >= abs(yb - ym):
                xb, yb = middle, ym
            else:
                xa, ya = middle, ym
        return False

    def area(
        self,
        f: Callable[[np.ndarray], np.ndarray],
        start: float,
        end: float,
        colour: str,
        g: Callable[[np.ndarray], np.ndarray] | None = None,
        opacity: float = 0.35,
    ) -> VGroup:
        """What lies between two graphs, or between a graph and the axis."""
        drawn = VGroup()
        x = np.linspace(max(start, self.x_range[0]), min(end, self.x_range[1]), 240)
        # Closer where it is steepest, so that the side of a jump stands upright.
        rise = np.abs(np.diff(np.nan_to_num(np.asarray(f(x), dtype=float))))
        steep = np.argsort(rise)[-_STEEP:]
        x = np.unique(np.concatenate([x, *(np.linspace(x[i], x[i + 1], 33) for i in steep)]))
        top = np.asarray(f(x), dtype=float)
        low = np.zeros_like(x) if g is None else np.asarray(g(x), dtype=float)
        there = np.isfinite(top) & np.isfinite(low)
        for run in np.split(np.arange(len(x)), np.flatnonzero(np.diff(there.astype(int))) + 1):
            if len(run) < 2 or not there[run[0]]:
                continue
            t, b = (np.clip(each[run], *self.y_range) for each in (top, low))
            points = np.concatenate([self.c2p(x[run], t), self.c2p(x[run], b)[::-1]])
            drawn.add(Polygon(*points, color=colour, fill_color=colour, fill_opacity=opacity, stroke_width=0))
        return drawn


def _wide(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = float(min(ends)), float(max(ends))
    if not (math.isfinite(low) and math.isfinite(high)):
        return -1.0, 1.0
    least = max(1e-6, 1e-9 * max(abs(low), abs(high)))
    return (low, high) if high - low >= least else (low - 1.0, high + 1.0)


def _clipped(
    start: tuple[float, float], end: tuple[float, float], low: float, high: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """What of a segment lies between two heights; ends that are inside stay exactly as they are."""
    (xa, ya), (xb, yb) = start, end
    if max(ya, yb) < low or min(ya, yb) > high:
        return None

    def at(edge: float) -> tuple[float, float]:
        return (xa + (edge - ya) / (yb - ya) * (xb - xa), edge)

    first = at(low) if ya < low else at(high) if ya > high else start
    last = at(low) if yb < low else at(high) if yb > high else end
    return (first, last)


def _domain_edge(f: Callable[[np.ndarray], np.ndarray], xa: float, xb: float, starts: bool) -> tuple[float, float]:
    """The last point that has a value, between one that has none and one that has."""
    there, gone = (xb, xa) if starts else (xa, xb)
    for _ in range(40):
        middle = (there + gone) / 2
        if np.isfinite(np.asarray(f(np.array([middle])), dtype=float)[0]):
            there = middle
        else:
            gone = middle
    return float(there), float(np.asarray(f(np.array([there])), dtype=float)[0])


def apart(a: VMobject, b: VMobject, gap: float = 0.04) -> bool:
    return (
        abs(a.get_x() - b.get_x()) >= (a.width + b.width) / 2 + gap
        or abs(a.get_y() - b.get_y()) >= (a.height + b.height) / 2 + gap
    )
