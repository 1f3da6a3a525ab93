"""Unit circle: the point turns, its coordinates are cosine and sine, and they unwrap to graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import (
    Arc,
    Circle,
    Create,
    DashedLine,
    Dot,
    FadeIn,
    FadeOut,
    ValueTracker,
    VGroup,
    VMobject,
    always_redraw,
    rate_functions,
)

from .. import kit

_EXACT = {
    0.0: "0", 0.5: r"\tfrac{1}{2}", math.sqrt(2) / 2: r"\tfrac{\sqrt{2}}{2}", math.sqrt(3) / 2: r"\tfrac{\sqrt{3}}{2}", 1.0: "1",
    math.sqrt(3): r"\sqrt{3}", math.sqrt(3) / 3: r"\tfrac{\sqrt{3}}{3}",
}  # fmt: skip


def exact(number: float) -> str:
    """The value with its sign, as a root where it is one of the well-known."""
    for known, written in _EXACT.items():
        if abs(abs(number) - known) < 1e-9:
            return "= " + ("-" if number < 0 and known else "") + written
    return rf"\approx {kit.tex_num(number, 4)}"


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 4.8 + 4.9 * len(p.get("angles") or [60])

    def heading(self) -> str:
        return "The unit circle"

    def story(self) -> None:
        theme, p = self.theme, self.p
        self.functions = p.get("functions") or ["sin", "cos"]
        self.colours = {"cos": theme.blue, "sin": theme.red, "tan": theme.green}
        figure, words = self.figure_and_words(0.56 if not p.get("unwrap") else 0.44, 0.66)
        self.unwrapped = None
        if p.get("unwrap") and self.stage.tall:
            figure, self.unwrapped = figure.rows(0.62, 0.38, gap=0.2)
        elif p.get("unwrap"):
            words, self.unwrapped = words.rows(0.36, 0.64, gap=0.15)
        reach = 1.75 if "tan" in self.functions else 1.3
        plot = self.plot = kit.Plot(
            theme, figure, (-reach, reach), (-reach, reach), equal=True, grid=False, labels=False, names=("", "")
        )
        self.unit = plot.unit()[0]
        circle = Circle(self.unit, color=theme.ink, stroke_width=3.5).move_to(plot.c2p(0, 0))
        self.play(FadeIn(plot), Create(circle), caption="A circle with radius 1 about the origin", run_time=1.2)
        self.wait(0.8)
        if "tan" in self.functions:
            self.play(Create(plot.line((1, -reach), (1, reach), theme.faint, 2.5)), run_time=0.4)
        self._prepare_graph()
        self.theta = ValueTracker(0.0)
        moving = always_redraw(self._figure)
        self.add(moving)
        self.words = words
        shown = VGroup()
        for angle in p.get("angles") or [60]:
            shown = self._turn(angle, shown)
        moving.clear_updaters()

    def _radians(self, angle: Any) -> float:
        number = kit.value(angle)
        return number if self.p.get("unit") == "radians" else math.radians(number)

    def _turn(self, angle: Any, before: VGroup) -> VGroup:
        theta = self._radians(angle)
        # Twenty turns are no picture: the same point is reached in at most one.
        drawn = theta if abs(theta) <= 2 * math.pi + 1e-9 else math.fmod(theta, 2 * math.pi)
        self.play(FadeOut(before), run_time=0.3)
        caption = "The point turns. Across is the cosine, up is the sine" if not before else "Another angle"
        self.play(
            self.theta.animate(rate_func=rate_functions.ease_in_out_sine).set_value(drawn),
            caption=caption,
            run_time=2.2,
        )
        written = kit.shown(angle, latex=True) + (r"^\circ" if self.p.get("unit") != "radians" else "")
        lines = VGroup(self.tex(rf"\theta = {written}", size="heading", color=self.theme.amber))
        for name in self.functions:
            number = getattr(math, name)(theta)
            value = r"\text{ is not defined}" if name == "tan" and abs(math.cos(theta)) < 1e-12 else exact(number)
            lines.add(self.tex(rf"\{name} \theta {value}", size="heading", color=self.colours[name]))
        lines.arrange_in_grid(
            cols=2 if self.words.width > 2 * self.words.height else 1, buff=(0.7, 0.3), cell_alignment=[-1, 0, 0]
        )
        kit.fit(lines, self.words.inset(0.1))
        self.play(FadeIn(lines), run_time=0.6)
        self.wait(1.6)
        return lines

    def _figure(self) -> VGroup:
        theme, plot, theta = self.theme, self.plot, self.theta.get_value()
        c, s = math.cos(theta), math.sin(theta)
        drawn = VGroup()
        if abs(theta) > 0.02:
            drawn.add(Arc(0.3 * self.unit, 0, theta, arc_center=plot.c2p(0, 0), color=theme.amber, stroke_width=4))
        drawn.add(plot.line((0, 0), (c, s), theme.amber, 4))
        if "cos" in self.functions:
            drawn.add(plot.line((0, 0), (c, 0), self.colours["cos"], 6))
        if "sin" in self.functions:
            drawn.add(plot.line((c, 0), (c, s), self.colours["sin"], 6))
        if "tan" in self.functions and abs(c) > 1e-6:
            t, most = s / c, plot.y_range[1]
            end = max(-most, min(most, t))
            drawn.add(plot.line((1, 0), (1, end), self.colours["tan"], 6))
            if abs(t) <= most:
                drawn.add(DashedLine(plot.c2p(0, 0), plot.c2p(1, t), color=theme.muted, stroke_width=2))
        drawn.add(Dot(plot.c2p(c, s), radius=0.1, color=theme.amber))
        drawn.add(*self._graphs(theta))
        return drawn

    def _prepare_graph(self) -> None:
        if self.unwrapped is None:
            return
        theta = [self._radians(each) for each in self.p.get("angles") or [60]]
        drawn = [t if abs(t) <= 2 * math.pi + 1e-9 else math.fmod(t, 2 * math.pi) for t in theta]
        low, high = min(0.0, *drawn), max(0.0, *drawn)
        quarter = math.pi / 2
        self.span = (
            quarter * math.floor(low / quarter + 1e-9),
            quarter * max(math.ceil(high / quarter - 1e-9), math.floor(low / quarter) + 1),
        )
        reach = 2.0 if "tan" in self.functions else 1.25
        self.wave = kit.Plot(self.theme, self.unwrapped, self.span, (-reach, reach), pi=True, names=("θ", ""))
        self.play(FadeIn(self.wave), run_time=0.5)

    def _graphs(self, theta: float) -> list[VMobject]:
        """The graphs from zero to the angle, a dot at each end."""
        if self.unwrapped is None:
            return []
        drawn: list[VMobject] = []
        functions = {
            "sin": np.sin,
            "cos": np.cos,
            "tan": lambda x: np.where(np.abs(np.cos(x)) > 1e-9, np.tan(x), np.nan),
        }
        low, high = min(0.0, theta), max(0.0, theta)
        for name in self.functions:
            if high - low > 1e-3:
                drawn.append(self.wave.curve(functions[name], self.colours[name], low, high))
            value = float(functions[name](np.array([theta]))[0])
            if self.wave.holds(theta, value):
                drawn.append(self.wave.dot(theta, value, self.colours[name], 0.07))
        return drawn
