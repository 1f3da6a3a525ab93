"""Vectors: tip to tail, products and projections, with the numbers beside the arrows."""

from __future__ import annotations

import math
import re
from itertools import combinations
from typing import Any

import numpy as np
from manim import DOWN, Create, DashedLine, FadeIn, Polygon, VGroup

from .. import kit

_NAMES = "uvwz"
_SECONDS = {"add": 1.9, "subtract": 4.9, "dot": 6.6, "cross": 4.1, "project": 6.5}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        count = cls._count(p)
        op = p.get("op", "add")
        return 3.9 + 1.3 * count + _SECONDS[op] + (1.4 + 1.3 * (count - 1) if op == "add" else 0)

    @staticmethod
    def _count(p: dict[str, Any]) -> int:
        return len(p["vectors"]) if p.get("op", "add") == "add" else 2

    def heading(self) -> str:
        return {
            "add": "Adding vectors", "subtract": "Subtracting vectors", "dot": "The dot product", "cross": "The cross product",
            "project": "Projecting a vector",
        }[self.p.get("op", "add")]  # fmt: skip

    def story(self) -> None:
        theme, p = self.theme, self.p
        self.vectors = [np.array([kit.value(each) for each in v]) for v in p["vectors"][: self._count(p)]]
        figure, words = self.figure_and_words(0.64, 0.74)
        self.op = p.get("op", "add")
        self.lines = (words if self.stage.tall else words.inset(0, 0.3)).rows(
            0.75 + 0.45 * len(self.vectors), 1, 1, gap=0.15
        )
        self.plot = kit.Plot(theme, figure, *self._ranges(figure), equal=True)
        self.play(FadeIn(self.plot), run_time=0.8)
        self.arrows, self.labels, self.colours = [], [], [theme.blue, theme.amber, theme.violet, theme.teal]
        names = VGroup()
        for i, v in enumerate(self.vectors):
            arrow = self._arrow((0, 0), v, self.colours[i])
            label = self._label(v, i)
            written = ", ".join(kit.shown(each, latex=True) for each in p["vectors"][i])
            names.add(self.tex(rf"\vec{{{_NAMES[i]}}} = \left({written}\right)", color=self.colours[i]))
            self.arrows.append(arrow)
            columns = 2 if self.stage.tall else 1
            names.arrange_in_grid(cols=columns, buff=(0.5, 0.2), cell_alignment=[-1, 0, 0])
            kit.fit(names, self.lines[0])
            self.play(FadeIn(arrow), FadeIn(label), FadeIn(names[-1]), run_time=0.8)
            self.wait(0.5)
        getattr(self, f"_{self.op}")()

    def _points(self) -> list[np.ndarray]:
        v = self.vectors
        points = [np.zeros(2), *v]
        if self.op == "add":
            points += [sum(v[: i + 1]) for i in range(len(v))]
        elif self.op == "subtract":
            points += [v[0] - v[1], -v[1]]
        elif self.op == "cross":
            points.append(v[0] + v[1])
        elif self.op in ("project", "dot"):
            points.append(self._shadow())
        return points

    def _shadow(self) -> np.ndarray:
        """The first vector projected onto the second."""
        u, v = self.vectors[:2]
        size = float(v @ v)
        return (float(u @ v) / size) * v if size > 1e-12 else np.zeros(2)

    def _ranges(self, box: kit.Box) -> tuple[tuple[float, float], tuple[float, float]]:
        points = np.array(self._points())
        low, high = points.min(axis=0), points.max(axis=0)
        size = max(float((high - low).max()), 1e-3 if float(np.abs(points).max()) > 0 else 2.0)
        low, high = low - 0.16 * size, high + 0.16 * size
        # Fill the box: the shorter way gets more room on both sides.
        ratio = (box.height - 0.75) / (box.width - 0.85)
        wide, tall = high - low
        if tall < wide * ratio:
            extra = (wide * ratio - tall) / 2
            low[1], high[1] = low[1] - extra, high[1] + extra
        else:
            extra = (tall / ratio - wide) / 2
            low[0], high[0] = low[0] - extra, high[0] + extra
        return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))

    def _arrow(self, start: Any, end: Any, colour: str, width: float = 6) -> VGroup:
        return kit.arrow(self.plot.c2p(*start), self.plot.c2p(*end), colour, width)

    def _label(self, v: np.ndarray, index: int) -> VGroup:
        """The name at the middle of the arrow, a little to its left, or where nothing else is written."""
        label = kit.halo(self.tex(rf"\vec{{{_NAMES[index]}}}", color=self.colours[index]), self.theme.background)
        size = float(np.linalg.norm(v))
        across = np.array([-v[1], v[0]]) / size if size > 1e-12 else np.array([0, 1.0])
        # On the side where the others are not.
        if float(across @ (sum(self.vectors) - v)) > 0:
            across = -across
        beside = [(part, side * across) for side in (1, -1) for part in (0.5, 0.38, 0.62, 0.26, 0.74)]
        # Of an arrow that is a dot, all these are one or two places: then the corners between the axes.
        corners = [(0.5, np.array(each) / math.sqrt(2)) for each in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
        length = float(np.linalg.norm(self.plot.c2p(*v) - self.plot.c2p(0, 0)))
        places = [*corners, *beside] if length < 0.1 else [*beside, *corners]
        for part, way in places:
            label.move_to(self.plot.c2p(*(part * v)) + 0.32 * np.array([*way, 0]))
            if all(kit.apart(label, other) for other in (*self.plot.tick_labels, *self.labels)):
                break
        else:
            part, way = places[0]
            label.move_to(self.plot.c2p(*(part * v)) + 0.32 * np.array([*way, 0]))
        self.labels.append(label)
        return label

    def _say_line(
        self, index: int, latex: str, colour: str, caption: str | None = None, extra: tuple[Any, ...] = ()
    ) -> None:
        box = self.lines[index]
        tried = [self.tex(latex, size="heading", color=colour)]
        if tried[0].width > 1.4 * box.width:
            rows = _broken(latex, tried[0].width, box)
            tried.append(VGroup(*(self.tex(each, size="heading", color=colour) for each in rows)).arrange(DOWN, buff=0.15))
        written = kit.fit(max(tried, key=lambda each: min(box.width / each.width, box.height / each.height)), box)
        self.play(FadeIn(written), *extra, caption=caption, run_time=0.9)

    @staticmethod
    def _pair(v: np.ndarray) -> str:
        return rf"\left({kit.tex_num(v[0], 4)}, {kit.tex_num(v[1], 4)}\right)"

    def _add(self) -> None:
        total = self.vectors[0].copy()
        for i, v in enumerate(self.vectors[1:], start=1):
            moved = self._arrow(total, total + v, self.colours[i])
            self.play(
                self.arrows[i].copy().animate.become(moved), self.arrows[i].animate.set_opacity(0.25),
                caption="Put the tail of the next at the tip of the one before" if i == 1 else None, run_time=1.3,
            )  # fmt: skip
            if i == 1:
                self.wait(1.4)
            total = total + v
        result = self._arrow((0, 0), total, self.theme.green, 8)
        names = " + ".join(rf"\vec{{{_NAMES[i]}}}" for i in range(len(self.vectors)))
        self._say_line(
            1,
            rf"{names} = {self._pair(total)}",
            self.theme.green,
            "From the first tail to the last tip: the sum",
            (FadeIn(result),),
        )
        self.wait(1.0)

    def _subtract(self) -> None:
        u, v = self.vectors[:2]
        minus = self._arrow((0, 0), -v, self.colours[1])
        self.play(
            FadeIn(minus), self.arrows[1].animate.set_opacity(0.3), caption="Turn the second one round", run_time=1.1
        )
        self.wait(0.7)
        self.play(minus.animate.become(self._arrow(u, u - v, self.colours[1])), caption="and add it", run_time=1.2)
        result = self._arrow((0, 0), u - v, self.theme.green, 8)
        self._say_line(
            1,
            rf"\vec{{u}} - \vec{{v}} = {self._pair(u - v)}",
            self.theme.green,
            "The difference leads from v to u",
            (FadeIn(result),),
        )
        self.wait(1.0)

    def _drop(self) -> np.ndarray:
        """Draw the shadow of u on v; returns it."""
        shadow = self._shadow()
        u, v = self.vectors[:2]
        plot = self.plot
        size = float(np.linalg.norm(v))
        extra = []
        if size > 1e-12:
            (x0, x1), (y0, y1) = plot.x_range, plot.y_range
            far = 4 * max(x1 - x0, y1 - y0) * v / size
            seen = kit.clipped_segment(tuple(-far), tuple(far), plot.x_range, plot.y_range)
            if seen:
                extra.append(FadeIn(plot.line(*seen, self.theme.faint, 2.5)))
        if float(np.linalg.norm(u - shadow)) > 1e-9:
            extra.append(Create(DashedLine(plot.c2p(*u), plot.c2p(*shadow), color=self.theme.muted, stroke_width=3)))
        self.play(*extra, caption="Drop a perpendicular from u onto the line of v", run_time=1.1)
        self.play(
            FadeIn(self._arrow((0, 0), shadow, self.theme.green, 9)),
            caption="That is the shadow of u on v",
            run_time=0.9,
        )
        self.wait(0.8)
        return shadow

    def _dot(self) -> None:
        u, v = self.vectors[:2]
        shadow = self._drop()
        length = float(np.linalg.norm(v))
        along = math.copysign(float(np.linalg.norm(shadow)), float(u @ v)) if length > 0 else 0.0
        terms = rf"{_factor(u[0])}\cdot{_factor(v[0])} + {_factor(u[1])}\cdot{_factor(v[1])}"
        self._say_line(
            1,
            rf"\vec{{u}}\cdot\vec{{v}} = {terms} = {kit.tex_num(float(u @ v), 4)}",
            self.theme.green,
            "Multiply the components and add",
        )
        self.wait(1.0)
        said = (
            "Zero: they are perpendicular"
            if abs(float(u @ v)) < 1e-12
            else "As much as the shadow times the length of v"
        )
        self._say_line(
            2,
            rf"{kit.tex_num(along, 4)} \cdot {kit.tex_num(length, 4)} = {kit.tex_num(float(u @ v), 4)}",
            self.theme.muted,
            said,
        )
        self.wait(1.0)

    def _cross(self) -> None:
        u, v = self.vectors[:2]
        area = float(u[0] * v[1] - u[1] * v[0])
        corners = [self.plot.c2p(*each) for each in (np.zeros(2), u, u + v, v)]
        colour = self.theme.green if area >= 0 else self.theme.red
        shape = Polygon(*corners, stroke_width=2, color=colour, fill_color=colour, fill_opacity=0.35)
        self.play(FadeIn(shape), caption="Both span a parallelogram", run_time=1.0)
        self.wait(0.8)
        terms = rf"{_factor(u[0])}\cdot{_factor(v[1])} - {_factor(u[1])}\cdot{_factor(v[0])}"
        turn = "counter-clockwise" if area > 0 else "clockwise: the sign is negative"
        said = (
            f"Its area is {kit.num(abs(area), 4)}; from u to v it goes {turn}"
            if area
            else "Its area is zero: they are parallel"
        )
        self._say_line(1, rf"\vec{{u}}\times\vec{{v}} = {terms} = {kit.tex_num(area, 4)}", colour, said)
        self.wait(1.4)

    def _project(self) -> None:
        u, v = self.vectors[:2]
        shadow = self._drop()
        if float(v @ v) < 1e-12:
            self.say("v has no length, so it has no direction to project onto")
            self.wait(1.5)
            return
        law = r"\frac{\vec{u}\cdot\vec{v}}{\vec{v}\cdot\vec{v}}\,\vec{v}"
        self._say_line(
            1,
            rf"{law} = \frac{{{kit.tex_num(float(u @ v), 4)}}}{{{kit.tex_num(float(v @ v), 4)}}}\,\vec{{v}}",
            self.theme.muted,
            "How many times v it is",
        )
        self.wait(0.9)
        self._say_line(2, rf"= {self._pair(shadow)}", self.theme.green, "The projection of u onto v")
        self.wait(1.0)


def _factor(number: float) -> str:
    written = kit.tex_num(number, 4)
    return rf"\left({written}\right)" if number < 0 else written


def _broken(latex: str, width: float, box: kit.Box) -> list[str]:
    """A line that is so wide, in the at most three rows that come out largest in the box; rather broken before "="."""
    pieces = re.split(r" (?=[=+-] )", latex)
    unit = width / max(1, _breadth(latex))
    best, rows = 0.0, [latex]
    for count in range(1, min(3, len(pieces))):
        for cuts in combinations(range(1, len(pieces)), count):
            ends = zip((0, *cuts), (*cuts, len(pieces)), strict=True)
            # With something before it, a sign is set as one between two terms.
            tried = [("{} " if start else "") + " ".join(pieces[start:end]) for start, end in ends]
            tall = 0.55 * len(tried) + 0.15 * count
            scale = min(box.width / (unit * max(map(_breadth, tried))), box.height / tall)
            scale *= 1.0 if all(each.startswith("{} =") for each in tried[1:]) else 0.8
            if scale > best:
                best, rows = scale, tried
    return rows


def _breadth(latex: str) -> int:
    """About how many letters wide; only lines of the same kind are compared."""
    return len(re.sub(r"\\(cdot|times)", "·", re.sub(r"\\(vec|left|right)|[{} ]", "", latex)))
