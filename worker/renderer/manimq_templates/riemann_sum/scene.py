"""Riemann sums: strips under a graph, ever narrower, and their sum beside the integral."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import Create, FadeIn, FadeOut, LaggedStart, Polygon, VGroup

from .. import kit

_NAMES = {
    "left": "left ends", "mid": "midpoints", "right": "right ends", "trap": "trapezoids", "simpson": "Simpson's parabolas",
}  # fmt: skip


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 6.4 + 2.4 * len(p.get("n") or [4, 8, 16, 32])

    def heading(self) -> str:
        return "Riemann sums"

    def story(self) -> None:
        theme, p = self.theme, self.p
        f = self.f = kit.Formula(p["f"])
        a, b = kit.value(p.get("a", 0)), kit.value(p.get("b", 2))
        low, high = self.ends = (a, b) if a < b else (b, a) if b < a else (a, a + 1)
        self.sign = -1.0 if a > b else 1.0
        room, words = self.figure_and_words(0.68, 0.72)
        margin = 0.12 * (high - low)
        x0 = -0.3 * margin if 0 < low - margin < 0.4 * (high - low) else low - margin
        y0, y1 = kit.good_y_range([f], low, high)
        span = y1 - y0
        plot = self.plot = kit.Plot(theme, room, (x0, high + margin), (min(y0, -0.06 * span), max(y1, 0.06 * span)))
        upper, self.sum_box, self.table_box = (words.inset(0, 0.6) if words.tall else words).rows(
            0.3, 0.3, 0.4, gap=0.12
        )
        name = kit.fit(self.tex(rf"f(x) = {f.latex}", color=theme.blue), upper)
        graph = plot.curve(f, theme.blue)
        self.play(FadeIn(plot), FadeIn(name), run_time=0.7)
        rule = p.get("rule", "left")
        self.play(*(Create(each) for each in graph), caption=f"Strips under the graph, by {_NAMES[rule]}", run_time=1.2)
        self.wait(0.6)
        shown, line = VGroup(), VGroup()
        for index, n in enumerate(p.get("n") or [4, 8, 16, 32]):
            strips = self._strips(n, rule)
            total = self.sign * self._sum(n, rule)
            written = "= " + kit.tex_num(total, 5) if math.isfinite(total) else r"\text{ is not defined}"
            text = kit.fit(self.tex(rf"S_{{{n}}} {written}", size="heading", color=theme.amber), self.sum_box)
            caption = kit.counted(n, "strip") + ("" if index == 0 else ": closer to the graph")
            self.play(FadeOut(shown), FadeOut(line), run_time=0.3)
            # None has a height where the function has no value.
            rising = [LaggedStart(*(FadeIn(each) for each in strips), lag_ratio=min(0.5, 2.0 / len(strips)))] if len(strips) else []
            self.play(*rising, FadeIn(text), caption=caption, run_time=1.1)
            self.add(graph)
            shown, line = strips, text
            self.wait(1.0)
        self._compare()

    def _height(self, left: float, right: float, rule: str) -> float:
        return float(self.f({"left": left, "mid": (left + right) / 2, "right": right}[rule]))

    def _strips(self, n: int, rule: str) -> VGroup:
        theme, plot = self.theme, self.plot
        edges = np.linspace(*self.ends, n + 1)
        strips = VGroup()
        for left, right in zip(edges, edges[1:], strict=False):
            top = self._top(float(left), float(right), rule)
            if top is None:
                continue
            points = np.array([(left, 0.0), *top, (right, 0.0)])
            points[:, 1] = np.clip(points[:, 1], *plot.y_range)
            below = float(np.mean(points[1:-1, 1])) < 0
            colour = theme.red if below else theme.green
            strips.add(Polygon(
                *plot.c2p(points[:, 0], points[:, 1]), color=colour, fill_color=colour, fill_opacity=0.4,
                stroke_width=max(0.6, 2.5 - n / 30),
            ))  # fmt: skip
        return strips

    def _top(self, left: float, right: float, rule: str) -> list[tuple[float, float]] | None:
        """The upper edge of a strip, or None where the function has no value."""
        if rule == "trap":
            top = [(left, self.f(left)), (right, self.f(right))]
        elif rule == "simpson":
            middle = (left + right) / 2
            x = np.array([left, middle, right])
            y = self.f(x)
            if not np.isfinite(y).all():
                return None
            curve = np.polynomial.Polynomial.fit(x, y, 2)
            top = [(float(t), float(curve(t))) for t in np.linspace(left, right, 13)]
        else:
            y = self._height(left, right, rule)
            top = [(left, y), (right, y)]
        return top if all(math.isfinite(y) for _, y in top) else None

    def _sum(self, n: int, rule: str) -> float:
        edges = np.linspace(*self.ends, n + 1)
        width = (self.ends[1] - self.ends[0]) / n
        left, right, middle = self.f(edges[:-1]), self.f(edges[1:]), self.f((edges[:-1] + edges[1:]) / 2)
        heights = {
            "left": left, "right": right, "mid": middle, "trap": (left + right) / 2, "simpson": (left + 4 * middle + right) / 6,
        }[rule]  # fmt: skip
        return float(np.sum(heights) * width)

    def _compare(self) -> None:
        exact = self.sign * kit.integral(self.f, *self.ends)
        p = self.p
        ends = rf"_{{{kit.shown(p.get('a', 0), latex=True)}}}^{{{kit.shown(p.get('b', 2), latex=True)}}}"
        value = rf"= {kit.tex_num(exact, 5)}" if math.isfinite(exact) else r"\text{ has no value to be told}"
        parts = (self.tex(part, size="heading", color=self.theme.green) for part in (rf"\int{ends} f(x)\,dx", value))
        narrow = self.table_box.width < 3.4
        whole = VGroup(*parts).arrange([0, -1, 0] if narrow else [1, 0, 0], buff=0.2)
        text = kit.fit(whole, self.table_box)
        caption = "The limit of these sums is the integral" if math.isfinite(exact) else "These sums have no limit that could be found"
        self.play(FadeIn(text), caption=caption, run_time=0.9)
