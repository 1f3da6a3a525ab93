"""Matrix: the grid moves to where the matrix sends it, with the basis, the unit square and what keeps its direction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import FadeIn, FadeOut, Polygon, ValueTracker, VGroup, always_redraw, rate_functions

from .. import kit

_REACH_MAX = 12.0


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 10.2 + 2.8 * bool(p.get("det", True)) + 2.5 * bool(p.get("eigen"))

    def heading(self) -> str:
        return "A matrix moves the plane"

    def story(self) -> None:
        theme, p = self.theme, self.p
        m = self.m = np.array([[kit.value(each) for each in row] for row in p["matrix"]])
        figure, words = self.figure_and_words(0.62, 0.74)
        reach = 1.3 * max(1.6, *(abs(m).sum(axis=1)), *np.abs(m).max(axis=0))
        self.small = reach <= _REACH_MAX
        reach = min(reach, _REACH_MAX)
        ratio = figure.height / figure.width
        across, up = (reach, reach * ratio) if ratio > 1 else (reach / ratio, reach)
        plot = self.plot = kit.Plot(theme, figure, (-across, across), (-up, up), equal=True, labels=False, grid=False)
        self.t = ValueTracker(0.0)
        still = self._grid(np.eye(2), theme.faint, 1.4)
        grid = always_redraw(lambda: self._grid(self._now(), theme.wash(theme.blue, 0.65), 2.2))
        upper, lower = (words.inset(0, 0.4) if words.tall else words).rows(0.52, 0.48, gap=0.2)
        written = self._matrix_text()
        kit.fit(written, upper)
        self.play(FadeIn(plot), FadeIn(still), FadeIn(written), caption="The plane, before", run_time=1.0)
        self.add(grid)
        square = always_redraw(self._square) if p.get("det", True) else VGroup()
        arrows = always_redraw(self._arrows) if p.get("basis", True) else VGroup()
        self.play(
            FadeIn(square),
            FadeIn(arrows),
            caption="The columns say where (1, 0) and (0, 1) go" if p.get("basis", True) else None,
            run_time=0.8,
        )
        self.wait(1.9)
        self.play(
            self.t.animate(rate_func=rate_functions.ease_in_out_cubic).set_value(1.0),
            caption="Lines stay lines, evenly spaced; the origin stays", run_time=2.8,
        )  # fmt: skip
        for each in (grid, square, arrows):
            each.clear_updaters()
        self.wait(0.6)
        shown = VGroup()
        if p.get("det", True):
            shown = self._determinant(lower)
        if p.get("eigen"):
            self._eigen(lower, shown)

    def _now(self) -> np.ndarray:
        t = self.t.get_value()
        return (1 - t) * np.eye(2) + t * self.m

    def _matrix_text(self) -> VGroup:
        rows = [[kit.shown(each, latex=True) for each in row] for row in self.p["matrix"]]
        body = r" \\ ".join(" & ".join(row) for row in rows)
        return self.tex(rf"A = \begin{{pmatrix}} {body} \end{{pmatrix}}", size="heading")

    def _grid(self, m: np.ndarray, colour: str, width: float) -> VGroup:
        plot, drawn = self.plot, VGroup()
        x1, y1 = plot.x_range[1], plot.y_range[1]
        step = 1.0 if max(x1, y1) <= 8 else 2.0
        # Far enough that what comes in from outside is there as well.
        far = 2.2 * max(x1, y1)
        ends = np.arange(-math.ceil(far / step) * step, far + step, step)
        for at in ends:
            for start, end in (((at, -far), (at, far)), ((-far, at), (far, at))):
                a, b = m @ start, m @ end
                seen = kit.clipped_segment(tuple(a), tuple(b), plot.x_range, plot.y_range)
                if seen and math.dist(*seen) > 1e-6:
                    drawn.add(plot.line(*seen, colour, width))
        return drawn

    def _arrow(self, v: np.ndarray, colour: str) -> VGroup:
        seen = kit.clipped_segment((0.0, 0.0), (float(v[0]), float(v[1])), self.plot.x_range, self.plot.y_range)
        return kit.arrow(self.plot.c2p(0, 0), self.plot.c2p(*(seen[1] if seen else (0, 0))), colour, 6)

    def _arrows(self) -> VGroup:
        m = self._now()
        return VGroup(self._arrow(m[:, 0], self.theme.green), self._arrow(m[:, 1], self.theme.red))

    def _square(self) -> VGroup:
        if not self.small:
            return VGroup()
        m, theme = self._now(), self.theme
        corners = [m @ np.array(each) for each in ((0, 0), (1, 0), (1, 1), (0, 1))]
        colour = theme.amber if np.linalg.det(m) >= 0 else theme.violet
        return VGroup(Polygon(
            *(self.plot.c2p(*each) for each in corners), color=colour, stroke_width=2, fill_color=colour, fill_opacity=0.45
        ))  # fmt: skip

    def _determinant(self, box: kit.Box) -> VGroup:
        det = float(np.linalg.det(self.m))
        det = 0.0 if abs(det) < 1e-12 * max(1.0, abs(self.m).max() ** 2) else det
        text = self.tex(
            rf"\det A = {kit.tex_num(det, 4)}",
            size="heading",
            color=self.theme.amber if det >= 0 else self.theme.violet,
        )
        if det == 0:
            said = "The square is flat: the plane is squashed to a line, or a point"
        else:
            said = f"Areas are multiplied by {kit.num(abs(det), 4)}" + (
                ", and the plane is turned over" if det < 0 else ""
            )
        self.play(FadeIn(kit.fit(text, box)), caption=said, run_time=0.8)
        self.wait(2.0)
        return text

    def _eigen(self, box: kit.Box, shown: VGroup) -> None:
        values, vectors = np.linalg.eig(self.m)
        if np.abs(values.imag).max() > 1e-9:
            text = kit.fit(self.tex(r"\lambda \notin \mathbb{R}", size="heading", color=self.theme.teal), box)
            self.play(
                FadeOut(shown),
                FadeIn(text),
                caption="Every direction turns: there is no real eigenvector",
                run_time=0.9,
            )
            self.wait(1.4)
            return
        lines, plot = VGroup(), self.plot
        if abs(self.m - self.m[0, 0] * np.eye(2)).max() < 1e-12:
            caption = "Every direction stays"
        else:
            caption = "These directions stay; along them it only stretches"
            far = 3 * max(plot.x_range[1], plot.y_range[1])
            for v in vectors.real.T:
                seen = kit.clipped_segment(tuple(-far * v), tuple(far * v), plot.x_range, plot.y_range)
                if seen:
                    lines.add(plot.line(*seen, self.theme.teal, 4.5))
        written = r",\quad ".join(
            rf"\lambda_{i + 1} = {kit.tex_num(float(each.real), 4)}" for i, each in enumerate(values)
        )
        text = kit.fit(self.tex(written, size="heading", color=self.theme.teal), box)
        self.play(FadeOut(shown), FadeIn(lines), FadeIn(text), caption=caption, run_time=0.9)
        self.wait(1.6)
