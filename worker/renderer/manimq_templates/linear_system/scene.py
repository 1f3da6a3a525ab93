"""Linear system: two lines that meet, or elimination step by step; then the solution."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from manim import Create, DashedLine, FadeIn, FadeOut, Indicate, VGroup

from .. import kit
from .solve import NAMES, Row, eliminate, latex, rows_of, solution

_STEP_S = 2.4


class Template(kit.TemplateScene):
    @classmethod
    def _system(cls, p: dict[str, Any]) -> list[Row]:
        equations = p["equations"]
        return rows_of(equations, NAMES[: max(2, len(equations))])

    @classmethod
    def _parts(cls, p: dict[str, Any]) -> tuple[bool, bool]:
        """Whether there is a graph, and whether there are steps."""
        method = p.get("method", "both")
        two = len(p["equations"]) == 2
        return two and method in ("both", "graph"), method in ("both", "elimination") or not two

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        graph, steps = cls._parts(p)
        return 5.7 + 5.4 * graph + _STEP_S * steps * len(eliminate(cls._system(p))[0])

    def heading(self) -> str:
        return f"{ {2: 'Two', 3: 'Three'}[len(self.p['equations'])] } linear equations"

    def story(self) -> None:
        rows = self._system(self.p)
        self.graph, steps = self._parts(self.p)
        stage = self.stage
        if self.graph:
            chart, words = stage.split(1.35, 1, gap=0.35) if not stage.tall else stage.rows(1.5, 1, gap=0.3)
        else:
            chart, words = stage, stage.inset(stage.width * 0.12, 0.2)
        *places, last = words.rows(*[1] * (len(rows) + 1), gap=0.12)
        self.places = places
        self.shown = [self._equation(row, place, i) for i, (row, place) in enumerate(zip(rows, places, strict=True))]
        done, final = eliminate(rows)
        found = solution(final)
        said = "Each equation is a line" if self.graph else "All equations hold at the same time"
        self.play(*(FadeIn(each) for each in self.shown), caption=said, run_time=1.0)
        self.wait(0.7)
        if self.graph:
            self._draw(rows, chart, found)
        if steps:
            for step in done:
                changes: list[Any] = []
                for i, row in enumerate(step.rows):
                    fresh = self._equation(row, places[i], i)
                    if fresh.tex_string != self.shown[i].tex_string:
                        changes += [FadeOut(self.shown[i]), FadeIn(fresh)]
                        self.shown[i] = fresh
                self.play(*changes, caption=step.said, run_time=0.9)
                self.wait(_STEP_S - 0.9)
        self._end(found, last)

    def _equation(self, row: Row, place: kit.Box, index: int) -> Any:
        colour = self.theme.colour(index) if self.graph else self.theme.ink
        return kit.fit(self.tex(latex(row), size="heading", color=colour), place)

    def _end(self, found: list[Fraction] | str, box: kit.Box) -> None:
        if isinstance(found, str):
            said = "They contradict each other: there is no solution" if found == "none" else "They say the same: there are infinitely many solutions"
            sign = self.tex(r"\varnothing" if found == "none" else r"\infty", size="heading", color=self.theme.red)
            self.play(FadeIn(kit.fit(sign, box)), caption=said, run_time=0.8)
            return
        written = r",\quad ".join(f"{name} = {kit.tex_num(each)}" for name, each in zip(NAMES, found, strict=False))
        result = kit.fit(self.tex(written, size="heading", color=self.theme.green), box)
        self.play(FadeIn(result), caption="The one solution", run_time=0.8)
        self.play(Indicate(result, color=self.theme.green, scale_factor=1.06), run_time=0.7)

    def _draw(self, rows: list[Row], box: kit.Box, found: list[Fraction] | str) -> None:
        theme = self.theme
        point = [float(each) for each in found] if isinstance(found, list) else [0.0, 0.0]
        reach = max(4.0, *(1.5 * abs(each) for each in point), *(min(20.0, 1.3 * cut) for row in rows for cut in _cuts(row)))
        wide = reach * min(1.6, max(1.0, box.width / box.height))
        tall = reach * min(1.6, max(1.0, box.height / box.width))
        plot = kit.Plot(theme, box, (-wide, wide), (-tall, tall), equal=True)
        self.play(FadeIn(plot), run_time=0.8)
        for i, row in enumerate(rows):
            ends = _ends(row, plot)
            if ends is not None:
                self.play(Create(plot.line(*ends, theme.colour(i))), run_time=1.0)
        if isinstance(found, list) and plot.holds(*point):
            x, y = point
            zero = plot._zero()
            guides = VGroup(
                *(
                    DashedLine(plot.c2p(x, y), plot.c2p(*end), color=theme.muted, stroke_width=2)
                    for end in ((x, zero[1]), (zero[0], y))
                    if np.linalg.norm(plot.c2p(x, y) - plot.c2p(*end)) > 0.15
                )
            )
            self.play(FadeIn(plot.dot(x, y, theme.green, 0.12), scale=0.3), *(Create(each) for each in guides), caption="Where they meet, both hold", run_time=0.8)
        else:
            said = {"none": "Parallel lines: they never meet", "many": "The same line twice: they meet everywhere"}
            self.play(caption=said.get(str(found), "They meet far outside"), run_time=0.8)
        self.wait(1.0)


def _cuts(row: Row) -> list[float]:
    """Where its line crosses the axes."""
    return [abs(float(row[-1] / each)) for each in row[:-1] if each != 0]


def _ends(row: Row, plot: kit.Plot) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """What of a line lies in the plot."""
    a, b, c = map(float, row)
    (x0, x1), (y0, y1) = plot.x_range, plot.y_range
    found = []
    if abs(b) > 1e-12:
        found += [(x, (c - a * x) / b) for x in (x0, x1)]
    if abs(a) > 1e-12:
        found += [((c - b * y) / a, y) for y in (y0, y1)]
    inside = sorted({(round(x, 9), round(y, 9)) for x, y in found if plot.holds(x, y, 1e-6)})
    return (inside[0], inside[-1]) if len(inside) > 1 else None
