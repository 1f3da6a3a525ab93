"""Integral: two bounds, then the area between them swept out from left to right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import Create, DashedLine, FadeIn, ValueTracker, VGroup, always_redraw, linear

from .. import kit


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 10.2 + 1.2 * bool(p.get("g"))

    def heading(self) -> str:
        return "Area between two graphs" if self.p.get("g") else "Area under a curve"

    def story(self) -> None:
        theme, p = self.theme, self.p
        f = kit.Formula(p["f"])
        g = kit.Formula(p["g"]) if p.get("g") else None
        a, b = kit.value(p.get("a", 0)), kit.value(p.get("b", 2))
        low, high = (a, b) if a < b else (b, a) if b < a else (a, a + 1)
        room, words = self.figure_and_words(0.68, 0.76)
        upper, lower = (words.inset(0, 0.7) if words.tall else words).rows(0.45, 0.55, gap=0.15)
        margin = 0.3 * (high - low)
        x0, x1 = low - margin, high + margin
        if 0 < x0 < 0.5 * (high - low):
            x0 = -0.2 * margin
        plot = self.plot = kit.Plot(theme, room, (x0, x1), self._y_range(f, g, low, high))
        names = VGroup(self.tex(rf"f(x) = {f.latex}", color=theme.blue))
        if g:
            names.add(self.tex(rf"g(x) = {g.latex}", color=theme.amber))
        names.arrange([0, -1, 0], buff=0.22)
        kit.fit(names, upper)
        self.play(FadeIn(plot), FadeIn(names), run_time=0.8)
        self.play(
            *(Create(each) for each in plot.curve(f, theme.blue)), caption="The graph of f" if g else None, run_time=1.3
        )
        if g:
            self.play(*(Create(each) for each in plot.curve(g, theme.amber)), caption="and of g", run_time=1.2)
        ends = self._ends(f, g, low, high)
        self.play(
            *(Create(each) for each in ends), caption=f"From {self._shown(low)} to {self._shown(high)}", run_time=0.8
        )
        self.wait(0.6)
        self._sweep(f, g, low, high)
        self._result(f, g, a, b, lower)

    def _shown(self, end: float) -> str:
        for name in ("a", "b"):
            if name in self.p and kit.value(self.p[name]) == end:
                return kit.shown(self.p[name])
        return kit.num(end)

    def _y_range(self, f: kit.Formula, g: kit.Formula | None, low: float, high: float) -> tuple[float, float]:
        y0, y1 = kit.good_y_range([f, g] if g else [f], low - 0.1 * (high - low), high + 0.1 * (high - low))
        if not g:
            # The axis is one side of the area.
            span = y1 - y0
            y0, y1 = min(y0, -0.08 * span), max(y1, 0.08 * span)
        return y0, y1

    def _ends(self, f: kit.Formula, g: kit.Formula | None, low: float, high: float) -> list[DashedLine]:
        plot, lines = self.plot, []
        for x in (low, high):
            ys = [f(x), g(x) if g else 0.0]
            ys = [min(max(y, plot.y_range[0]), plot.y_range[1]) if math.isfinite(y) else 0.0 for y in ys]
            if abs(ys[0] - ys[1]) < 0.02 * (plot.y_range[1] - plot.y_range[0]):
                ys = [ys[0], ys[0] + 0.05 * (plot.y_range[1] - plot.y_range[0])]
            lines.append(DashedLine(plot.c2p(x, ys[1]), plot.c2p(x, ys[0]), color=self.theme.muted, stroke_width=3))
        return lines

    def _parts(self, f: kit.Formula, g: kit.Formula | None, low: float, high: float) -> VGroup:
        """What is above in green, what is below in red."""
        plot, theme = self.plot, self.theme

        def upper(x: np.ndarray) -> np.ndarray:
            return np.maximum(f(x), g(x) if g else 0)

        def lower(x: np.ndarray) -> np.ndarray:
            return np.minimum(f(x), g(x) if g else 0)

        def base(x: np.ndarray) -> np.ndarray:
            return g(x) if g else np.zeros_like(x)

        return VGroup(
            plot.area(upper, low, high, theme.green, base, 0.5), plot.area(lower, low, high, theme.red, base, 0.5)
        )

    def _sweep(self, f: kit.Formula, g: kit.Formula | None, low: float, high: float) -> None:
        at = ValueTracker(low + 1e-6 * (high - low))
        area = always_redraw(lambda: self._parts(f, g, low, at.get_value()))
        self.add(area)
        self.play(
            at.animate(rate_func=linear).set_value(high),
            caption="Sweep from left to right: the area grows",
            run_time=2.6,
        )
        area.clear_updaters()

    def _result(self, f: kit.Formula, g: kit.Formula | None, a: float, b: float, box: kit.Box) -> None:
        total = kit.integral((lambda x: f(x) - g(x)) if g else f, a, b)
        p = self.p
        ends = rf"_{{{kit.shown(p.get('a', 0), latex=True)}}}^{{{kit.shown(p.get('b', 2), latex=True)}}}"
        inside = r"\left(f(x) - g(x)\right)" if g else "f(x)"
        if math.isnan(total):
            value, caption = (
                r"\text{ has no value to be told}",
                "The function is not bounded here, not defined all the way, or too fast to follow",
            )
        else:
            exact = kit.nice_fraction(total)
            if exact is not None and exact.denominator > 1:
                value = rf"= {kit.tex_num(exact)} \approx {kit.tex_num(total, 4)}"
            else:
                value = rf"= {kit.tex_num(total, 4)}" if exact is not None else rf"\approx {kit.tex_num(total, 5)}"
            mixed = any(len(part) for part in self._parts(f, g, min(a, b), max(a, b))[1:])
            caption = (
                "Parts below count as negative" if mixed and self._dips(f, g, a, b) else "The integral is this area"
            )
        whole = VGroup(
            *(self.tex(part, size="heading", color=self.theme.green) for part in (rf"\int{ends} {inside}\,dx", value))
        )
        whole.arrange([0, -1, 0] if box.width < 6 else [1, 0, 0], buff=0.25)
        self.play(FadeIn(kit.fit(whole, box)), caption=caption, run_time=1.0)

    def _dips(self, f: kit.Formula, g: kit.Formula | None, a: float, b: float) -> bool:
        x = np.linspace(min(a, b), max(a, b), 300)
        below = f(x) - (g(x) if g else 0)
        return bool((below < -1e-9).any())
