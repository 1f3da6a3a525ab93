"""Derivative: a secant whose second point comes closer, until it is the tangent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import UP, Create, Dot, FadeIn, FadeOut, ValueTracker, VGroup, always_redraw, rate_functions

from .. import kit


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 12.6 + 1.7 * p.get("secant_steps", 4) + 2.5 * bool(p.get("show_derivative"))

    def heading(self) -> str:
        return "The derivative is a slope"

    def story(self) -> None:
        theme, p = self.theme, self.p
        f = self.f = kit.Formula(p["f"])
        a = self.a = kit.value(p.get("a", 1))
        room, words = self.figure_and_words(0.66, 0.76)
        x0, x1 = self._x_range()
        y0, y1 = self._y_range(x0, x1)
        plot = self.plot = kit.Plot(theme, room, (x0, x1), (y0, y1))
        self.words = words
        formula = kit.fit(self.tex(rf"f(x) = {f.latex}", size="heading", color=theme.blue), self._line(0))
        graph = plot.curve(f, theme.blue)
        self.play(FadeIn(plot), FadeIn(formula), run_time=0.8)
        self.play(
            *(Create(each) for each in graph),
            caption=f"How steep is the graph at x = {kit.shown(p.get('a', 1))}?",
            run_time=1.4,
        )
        ya = f(a)
        if not math.isfinite(ya):
            self.say(f"f has no value at x = {kit.shown(p.get('a', 1))}, so it has no slope there")
            return
        point = plot.dot(a, ya, theme.amber, 0.11)
        self.play(FadeIn(point, scale=2.5), run_time=0.5)
        self.wait(0.8)
        self._secants(x0, x1, ya, point)

    def _line(self, index: int) -> kit.Box:
        """Where the formula, the slope and the result stand."""
        return self.words.rows(1, 1, 1, gap=0.1)[index]

    def _x_range(self) -> tuple[float, float]:
        a = self.a
        # As wide as the function is interesting: about the point, the origin in it if it is near.
        half = max(2.5, 0.5 * abs(a)) if abs(a) <= 6 else max(3.0, 0.35 * abs(a))
        return a - half, a + half

    def _y_range(self, x0: float, x1: float) -> tuple[float, float]:
        y0, y1 = kit.good_y_range([self.f], x0, x1)
        ya = self.f(self.a)
        if math.isfinite(ya):
            reach = 0.15 * (y1 - y0)
            y0, y1 = min(y0, ya - reach), max(y1, ya + reach)
        return y0, y1

    def _secants(self, x0: float, x1: float, ya: float, point: Dot) -> None:
        theme, plot, f, a = self.theme, self.plot, self.f, self.a
        h0 = 0.62 * (x1 - a)
        while h0 > 1e-3 and not self._usable(a + h0):
            h0 *= 0.7
        side = 1.0
        if not self._usable(a + h0):
            side, h0 = -1.0, 0.62 * (a - x0)
            while h0 > 1e-3 and not self._usable(a - h0):
                h0 *= 0.7
        h = ValueTracker(side * h0)

        def second() -> Dot:
            return plot.dot(a + h.get_value(), f(a + h.get_value()), theme.red, 0.09)

        def line() -> VGroup:
            return self._through(a, ya, (f(a + h.get_value()) - ya) / h.get_value(), theme.red, 3)

        moving, secant = always_redraw(second), always_redraw(line)
        steps = int(self.p.get("secant_steps", 4))
        slope = self._slope_text(h.get_value(), ya)
        self.play(
            FadeIn(moving),
            FadeIn(secant),
            FadeIn(slope),
            caption="A secant through a second point, at the distance h",
            run_time=1.0,
        )
        self.add(secant, point, moving)
        self.wait(1.9)
        for step in range(1, steps + 1):
            goal = side * h0 * (0.012 if step == steps else 0.5**step)
            self.remove(slope)
            caption = "The second point comes closer: h becomes smaller" if step == 1 else None
            self.play(
                h.animate(rate_func=rate_functions.ease_in_out_sine).set_value(goal), caption=caption, run_time=1.05
            )
            slope = self._slope_text(goal, ya)
            self.play(FadeIn(slope), run_time=0.25)
            self.wait(0.4)
        self._tangent(ya, slope, moving, secant, point)

    def _usable(self, x: float) -> bool:
        y = self.f(x)
        return math.isfinite(y) and self.plot.holds(x, y)

    def _slope_text(self, h: float, ya: float) -> VGroup:
        rise = self.f(self.a + h) - ya
        written = rf"\frac{{\Delta y}}{{\Delta x}} = \frac{{{kit.tex_num(rise, 3)}}}{{{kit.tex_num(h, 3)}}} = {kit.tex_num(rise / h, 4)}"
        return kit.fit(self.tex(written, size="body", color=self.theme.red), self._line(1))

    def _through(self, a: float, ya: float, slope: float, colour: str, width: float) -> VGroup:
        """The line with that slope as far as the box goes."""
        if not math.isfinite(slope):
            return VGroup()
        return self.plot.curve(lambda x: ya + slope * (np.asarray(x) - a), colour, width=width)

    def _tangent(self, ya: float, slope_text: VGroup, moving: Dot, secant: VGroup, point: Dot) -> None:
        theme, a = self.theme, self.a
        m, why_not = self._slope(ya)
        moving.clear_updaters()
        secant.clear_updaters()
        where = kit.shown(self.p.get("a", 1), latex=True)
        if why_not:
            self.play(FadeOut(moving), FadeOut(secant), FadeOut(slope_text), run_time=0.5)
            said = kit.fit(
                self.tex(rf"f'\left({where}\right) \text{{ does not exist}}", color=theme.amber), self._line(1)
            )
            self.play(FadeIn(said), caption=why_not, run_time=0.8)
        else:
            m = 0.0 if abs(m) < 1e-9 else m
            shown = round(m, 6)
            tangent = self._through(a, ya, m, theme.green, 4.5)
            said = kit.fit(
                self.tex(rf"f'\left({where}\right) = {kit.tex_num(shown, 4)}", size="heading", color=theme.green),
                self._line(2),
            )
            self.add(tangent, point)
            self.play(
                FadeOut(moving), FadeOut(secant), *(Create(each) for each in tangent), FadeIn(said, shift=0.1 * UP),
                caption="In the limit the secant is the tangent, and its slope is the derivative", run_time=1.3,
            )  # fmt: skip
        self.wait(1.9)
        if self.p.get("show_derivative"):
            self._derivative(slope_text, not why_not)

    def _slope(self, ya: float) -> tuple[float, str]:
        """f′(a) and nothing, or NaN and why there is no slope."""
        f, a = self.f, self.a
        step = 1e-5 * max(1.0, 1e-3 * abs(a))

        def left(h: float) -> float:
            return (ya - f(a - h)) / h

        def right(h: float) -> float:
            return (f(a + h) - ya) / h

        def gap(h: float) -> float:
            return abs(right(h) - left(h))

        tree = kit.derivative(f.ast)
        exact = kit.Formula.of_ast(tree)(a) if tree is not None else math.nan
        m = exact if math.isfinite(exact) else f.slope(a)
        if not all(map(math.isfinite, (left(step), right(step), m))):
            return math.nan, "The graph is not there on both sides: so there is no slope"
        # With the step the gap between the two slopes shrinks where the graph bends; at a corner it stays.
        if gap(step) >= 0.02 * max(1.0, abs(m)) and gap(step / 4) >= 0.8 * gap(step):
            return math.nan, "From the left the slope is another: there is no tangent here"
        # Upright, as a cube root at 0: what a difference gives there is as large as its step is small.
        steeper = all(abs(side(step / 4)) > 1.2 * max(1e-3, abs(side(step))) for side in (left, right))
        if steeper and not math.isfinite(exact):
            return math.nan, "The secants become ever steeper: the slope has no limit"
        return m, ""

    def _derivative(self, slope_text: VGroup, smooth: bool) -> None:
        theme, f, plot = self.theme, self.f, self.plot
        tree = kit.derivative(f.ast)
        slope = kit.Formula.of_ast(tree) if tree is not None else np.vectorize(self._numeric_slope)
        # 1/x has values where ln x has none, and so no slope.
        graph = plot.curve(lambda x: np.where(np.isfinite(f(x)), slope(x), np.nan), theme.violet, width=3)
        more = [Create(each) for each in graph]
        if tree is not None and smooth:
            formula = self.tex(rf"f'(x) = {kit.latex_of(tree)}", color=theme.violet)
            # Written only where it can be read.
            if formula.width < 2.2 * self.words.width:
                more += [FadeOut(slope_text), FadeIn(kit.fit(formula, self._line(1)))]
        self.play(*more, caption="The slopes of all points make a new function: f′", run_time=1.6)
        self.wait(0.9)

    def _numeric_slope(self, x: float) -> float:
        h = 1e-6 * max(1.0, 1e-3 * abs(x))
        left, right = (self.f(x) - self.f(x - h)) / h, (self.f(x + h) - self.f(x)) / h
        # At a corner there is no slope, not one in between.
        return (left + right) / 2 if abs(right - left) < 1e-3 * max(1.0, abs(left), abs(right)) else math.nan
