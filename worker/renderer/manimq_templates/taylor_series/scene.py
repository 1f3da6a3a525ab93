"""Taylor series: polynomials of higher and higher order lie ever closer to a function around a point."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from manim import DOWN, LEFT, Create, FadeIn, FadeOut, Polygon, Transform, VGroup

from .. import kit
from .series import coefficients

_DEFAULT: dict[str, Any] = {"text": "sin(x)", "ast": ["sin", "x"]}
_FILMED_MAX = 4
_TERMS_MAX = 7
_CLOSE = 0.02
"""Of the picture's height: nearer than that the two graphs are one."""


def coefficients_of(p: dict[str, Any], order: int) -> list[float] | None:
    """Those of the film's function about its centre."""
    return coefficients(kit.Formula(p.get("f") or _DEFAULT).ast, kit.value(p.get("centre", 0)), order)


def orders_of(p: dict[str, Any]) -> list[int]:
    """Those that are shown. One alone is built up to, by those that bring something new."""
    wanted = sorted(set(p.get("orders") or [7]))
    last = wanted[-1]
    if len(wanted) > 1 or last < 2:
        return wanted
    found = coefficients_of(p, last)
    fresh = [k for k in range(1, last + 1) if found and found[k]] or [last]
    picked = sorted({fresh[round(each)] for each in np.linspace(0, len(fresh) - 1, min(_FILMED_MAX, len(fresh)))})
    return [*picked[:-1], last]


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 8.4 + 2.8 * len(orders_of(p))

    def heading(self) -> str:
        return "Taylor polynomials"

    def story(self) -> None:
        theme, p = self.theme, self.p
        f = self.f = kit.Formula(p.get("f") or _DEFAULT)
        a = self.a = kit.value(p.get("centre", 0))
        orders = orders_of(p)
        found = coefficients_of(p, orders[-1])
        where = kit.shown(p.get("centre", 0))
        room, words = self.figure_and_words(0.64, 0.72)
        x0, x1 = self._x_range()
        plot = self.plot = kit.Plot(theme, room, (x0, x1), self._y_range(x0, x1, found))
        upper, self.box, lower = words.rows(0.22, 0.56, 0.22, gap=0.1)
        name = kit.fit(self.tex(rf"f(x) = {f.latex}", color=theme.blue), upper)
        graph = self.graph = plot.curve(f, theme.blue)
        self.play(FadeIn(plot), FadeIn(name), run_time=0.8)
        self.play(*(Create(each) for each in graph), caption="A function", run_time=1.3)
        if found is None:
            self.say(f"f has no Taylor series about x = {where}: there it cannot be differentiated often enough")
            return
        point = self.point = plot.dot(a, found[0], theme.red, 0.1)
        shown = [FadeIn(point, scale=2.5)]
        if a:
            centre = kit.shown(p.get("centre", 0), latex=True).strip()
            if any(sign in centre[1:] for sign in "+-"):
                centre = rf"\left({centre}\right)"
            minus = f"+ {centre[1:]}" if centre.startswith("-") else f"- {centre}"
            shown.append(FadeIn(kit.fit(self.tex(rf"u = x {minus}", color=theme.muted), lower)))
        self.play(*shown, caption=f"Which polynomial is most like f around x = {where}?", run_time=0.7)
        self.wait(1.6)
        widths = self._orders(orders, found)
        if widths[-1] > 1.1 * widths[0] or len(widths) == 1:
            said = "The higher the order, the longer the polynomial fits"
        else:
            said = "Near the point higher orders help; farther out the series does not converge"
        self.play(caption=said, run_time=0.6)

    def _orders(self, orders: list[int], found: list[float]) -> list[float]:
        """One polynomial after the other; how wide the stretch is on which each is as good as the function."""
        theme, plot = self.theme, self.plot
        curve, text, band, widths = VGroup(), VGroup(), None, []
        for n in orders:
            polynomial = self._polynomial(found[: n + 1])
            new_curve = plot.curve(polynomial, theme.amber, width=theme.stroke + 1)
            new_text = self._text(found[: n + 1], n)
            low, high = self._close(polynomial)
            widths.append(high - low)
            new_band = Polygon(
                *plot.c2p(np.array([low, high, high, low]), np.repeat(np.array(plot.y_range), 2)),
                stroke_width=0, fill_color=theme.green, fill_opacity=0.16,
            )  # fmt: skip
            said = {0: "Order 0: the same value", 1: "Order 1: the same slope, this is the tangent", 2: "Order 2: the same curvature, too"}.get(
                n, f"Order {n}: the first {n} derivatives agree"
            )  # fmt: skip
            self.play(FadeOut(text), *(each.animate.set_stroke(theme.muted, 2, 0.5) for each in curve), run_time=0.3)
            drawn = [FadeIn(new_band)] if band is None else [Transform(band, new_band)]
            self.play(*(Create(each) for each in new_curve), FadeIn(new_text), *drawn, caption=said, run_time=1.3)
            band = band or new_band
            self.add(self.point)
            self.wait(1.2)
            curve, text = new_curve, new_text
        return widths

    # ------------------------------------------------------------------ ranges

    def _x_range(self) -> tuple[float, float]:
        wanted = self.p.get("x_range")
        if wanted:
            x0, x1 = sorted(kit.value(each) for each in wanted)
            return (x0, x1) if x1 > x0 else (x0 - 1, x0 + 1)
        a, half = self.a, 5.0
        while half > 1.2 and self._grows(a, half):
            half *= 0.7
        return a - half, a + half

    def _grows(self, a: float, half: float) -> bool:
        """Whether the outer half of the range is so much higher that the inner half would look flat."""
        values = np.abs(self.f(np.linspace(a - half, a + half, 401)))
        inner, whole = values[100:301], values
        if not np.isfinite(inner).any():
            return False
        return float(np.nanpercentile(whole, 97)) > 6 * max(float(np.nanmax(inner)), 1e-9)

    def _y_range(self, x0: float, x1: float, found: list[float] | None) -> tuple[float, float]:
        y0, y1 = kit.good_y_range([self.f], x0, x1)
        if found is not None:
            reach = 0.2 * (y1 - y0)
            y0, y1 = min(y0, found[0] - reach), max(y1, found[0] + reach)
        return y0, y1

    def _polynomial(self, found: list[float]) -> Callable[[Any], Any]:
        return lambda x: np.polyval(found[::-1], np.asarray(x, dtype=float) - self.a)

    def _close(self, polynomial: Callable[[Any], Any]) -> tuple[float, float]:
        """The stretch around the point on which both graphs are one."""
        x0, x1 = self.plot.x_range
        limit = _CLOSE * (self.plot.y_range[1] - self.plot.y_range[0])
        ends = []
        for edge in (x0, x1):
            x = np.linspace(self.a, edge, 600)[1:]
            with np.errstate(all="ignore"):
                off = np.abs(self.f(x) - polynomial(x))
            far = np.flatnonzero(~(off <= limit))
            ends.append(float(x[far[0]]) if len(far) else edge)
        return min(ends), max(ends)

    # -------------------------------------------------------------------- words

    def _text(self, found: list[float], n: int) -> VGroup:
        """The polynomial, in as many lines as it needs."""
        terms = terms_of(found, "u" if self.a else "x")
        if len(terms) > _TERMS_MAX:
            terms = [*terms[: _TERMS_MAX - 2], ("+", r"\cdots"), terms[-1]]
        sign, first = terms[0]
        parts = [rf"T_{{{n}}}(x) = {'-' if sign == '-' else ''}{first}", *(f"{sign} {body}" for sign, body in terms[1:])]
        across = 3 if self.box.width < 6 else 5
        # The first line has the name in it.
        lines = [parts[: across - 1], *(parts[i : i + across] for i in range(across - 1, len(parts), across))]
        made = VGroup(*(self.tex(" ".join(each), color=self.theme.amber) for each in lines if each))
        made.arrange(DOWN, buff=0.22, aligned_edge=LEFT)
        return kit.fit(made, self.box)


def terms_of(found: list[float], name: str) -> list[tuple[str, str]]:
    """Sign and LaTeX of each term that is there, the lowest power first."""
    terms = []
    for k, c in enumerate(found):
        if not c:
            continue
        power = "" if k == 0 else name if k == 1 else f"{name}^{{{k}}}"
        terms.append(("-" if c < 0 else "+", _term(abs(c), k, power)))
    return terms or [("+", "0")]


def _term(c: float, k: int, power: str) -> str:
    # Derivatives are nice numbers more often than coefficients are.
    nice = kit.nice_fraction(c * math.factorial(k))
    if nice is not None and nice:
        exact = Fraction(nice, math.factorial(k))
        if exact.denominator == 1:
            return f"{exact.numerator if exact != 1 or not power else ''}{power}" or "1"
        if exact.denominator < 10**6 and exact.numerator < 10**4:
            above = f"{exact.numerator if exact.numerator != 1 or not power else ''}{power}"
            return rf"\frac{{{above}}}{{{exact.denominator}}}"
    return rf"{kit.tex_num(c, 3)}{' ' if power else ''}{power}"
