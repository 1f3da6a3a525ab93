"""Function plot: axes, then one graph after the other, then what is worth marking on the first."""

from __future__ import annotations

from typing import Any

import numpy as np
from manim import Create, DashedLine, FadeIn, LaggedStart, VGroup, VMobject

from .. import kit
from ..kit import asymptotes, extrema, good_y_range, roots

_MARKS_MAX = 6


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 3.9 + 2.0 * len(p["f"]) + 2.4 * len(p.get("features") or []) + 3.0 * bool(p.get("inverse"))

    def heading(self) -> str:
        return "Graph of a function" if len(self.p["f"]) == 1 else "Graphs of functions"

    def story(self) -> None:
        theme, p = self.theme, self.p
        functions = [kit.Formula(each) for each in p["f"]]
        x = [kit.value(each) for each in p.get("x_range") or (-5, 5)]
        x0, x1 = min(x), max(x) if max(x) > min(x) else min(x) + 1
        mirrored = bool(p.get("inverse"))
        if p.get("y_range"):
            y0, y1 = sorted(kit.value(each) for each in p["y_range"])
        else:
            y0, y1 = self._close(functions[0], good_y_range(functions, x0, x1), x0, x1)
        if mirrored:
            # Both graphs belong in the picture, and the mirror must stand at 45 degrees.
            x0 = y0 = max(min(x0, y0), -8.0) if min(x0, y0) < 0 else min(x0, y0)
            x1 = y1 = min(max(x1, y1), x0 + 16.0) if max(x1, y1) > x0 else x0 + 1
        key, room = self._boxes(len(functions))
        self.plot = kit.Plot(theme, room, (x0, x1), (y0, y1), equal=mirrored)
        self.play(FadeIn(self.plot), run_time=0.8)
        labels = self._legend(functions, key)
        for index, (f, label) in enumerate(zip(functions, labels, strict=True)):
            graph = self.plot.curve(f, theme.colour(index))
            said = "" if len(graph) else "no real value in this range"
            self.play(
                FadeIn(label),
                *(Create(each) for each in graph),
                caption=said if index == 0 or said else None,
                run_time=1.6,
            )
            self.wait(0.4)
        wanted = p.get("features") or []
        f = functions[0]
        if "roots" in wanted:
            self._mark(
                [(r, 0.0) for r in roots(f, x0, x1)],
                theme.green,
                "Roots: where the graph meets the x axis",
                "No roots in this range",
            )
        if "extrema" in wanted:
            self._mark(extrema(f, x0, x1), theme.red, "Extrema: where the slope is zero", "No extrema in this range", f)
        if "asymptotes" in wanted:
            self._asymptotes(f)
        if mirrored:
            self._mirror(f, x0, x1)

    def _close(self, f: kit.Formula, y: tuple[float, float], x0: float, x1: float) -> tuple[float, float]:
        """Near enough that what is to be marked can be told apart, where the ends of the graph are far above it."""
        if len(self.p["f"]) > 1 or "extrema" not in (self.p.get("features") or []):
            return y
        heights = [0.0, *(height for _, height in extrema(f, x0, x1) if y[0] <= height <= y[1])]
        low, high = min(heights), max(heights)
        if not 1e-9 < high - low < 0.3 * (y[1] - y[0]):
            return y
        return max(y[0], low - 1.1 * (high - low)), min(y[1], high + 1.1 * (high - low))

    def _boxes(self, count: int) -> tuple[kit.Box, kit.Box]:
        """Where the formulas stand, and where the plot: beside it if there are many and room."""
        stage = self.stage
        self.per_row = 1
        if count > 1 and not stage.tall and stage.width > 9:
            room, key = stage.columns(0.72, 0.28, gap=0.5)
            return key.inset(0, max(0.0, key.height / 2 - 0.75 * count)), room
        self.per_row = 2 if count > 2 and not stage.tall else 1
        rows = -(-count // self.per_row)
        # The graphs get most of the room.
        tall = min(0.72 * rows, 0.36 * stage.height)
        key, room = stage.rows(tall, stage.height - tall, gap=0.1)
        return key, room

    def _legend(self, functions: list[kit.Formula], box: kit.Box) -> list[VGroup]:
        rows = box.rows(*[1] * -(-len(functions) // self.per_row), gap=0.12)
        cells = [cell for row in rows for cell in (row.columns(1, 1) if self.per_row == 2 else [row])][: len(functions)]
        labels = [self.tex(f"{'fghk'[i]}(x) = {f.latex}", color=self.theme.colour(i)) for i, f in enumerate(functions)]
        least = min(
            min(1.0, cell.width / each.width, cell.height / each.height)
            for each, cell in zip(labels, cells, strict=True)
        )
        for each, cell in zip(labels, cells, strict=True):
            # All in one size, unless one is far too long.
            kit.fit(each.scale(max(least, 0.7)), cell)
        return labels

    def _mark(
        self, points: list[tuple[float, float]], colour: str, caption: str, none: str, f: kit.Formula | None = None
    ) -> None:
        """Dots with names; with ``f``, the names of its lowest points stand below them."""
        plot = self.plot
        points = [each for each in points if plot.holds(*each)][:_MARKS_MAX]
        if not points:
            self.say(none)
            self.wait(1.2)
            return
        dots, labels = VGroup(), VGroup()
        for x, y in points:
            dots.add(plot.dot(x, y, colour, 0.1))
            written = f"({kit.num(x, 3)}, {kit.num(y, 3)})" if y else kit.num(x, 3)
            label = kit.halo(
                self.text(written, "tiny", color=colour, weight="MEDIUM", lines_max=1), self.theme.background
            )
            h = 1e-3 * (plot.x_range[1] - plot.x_range[0])
            self._beside(label, x, y, f is not None and float(f(x + h)) > y)
            if all(_apart(label, other) for other in (*labels, *getattr(self, "_placed", []))):
                labels.add(label)
        self._placed = [*getattr(self, "_placed", []), *labels]
        # A tick's number under a mark's would be two texts in one place.
        hidden = [each for each in plot.tick_labels if not all(_apart(each, label) for label in labels)]
        self.play(
            LaggedStart(*(FadeIn(each, scale=0.3) for each in dots), lag_ratio=0.3),
            FadeIn(labels), *(each.animate.set_opacity(0) for each in hidden), caption=caption, run_time=0.9,
        )  # fmt: skip
        self.wait(1.5)

    def _beside(self, label: VGroup, x: float, y: float, below: bool = False) -> None:
        """Above a point, or below it if it is lowest or in the upper part of the picture; inside the room."""
        plot = self.plot
        at, room = plot.c2p(x, y), plot.room
        if below and at[1] - 0.5 > room.bottom:
            label.move_to([float(np.clip(at[0], room.left + label.width / 2, room.right - label.width / 2)), at[1] - 0.32, 0])
            return
        up = 0.32 if at[1] < room.bottom + 0.75 * room.height or at[1] + 0.5 < room.top else -0.32
        half = label.width / 2
        label.move_to([float(np.clip(at[0], room.left + half, room.right - half)), at[1] + up, 0])

    def _asymptotes(self, f: kit.Formula) -> None:
        plot = self.plot
        vertical, level = asymptotes(f, plot.x_range)
        lines = VGroup()
        for x in vertical[:_MARKS_MAX]:
            lines.add(
                DashedLine(
                    plot.c2p(x, plot.y_range[0]), plot.c2p(x, plot.y_range[1]), color=self.theme.violet, stroke_width=3
                )
            )
        for y in level:
            if plot.holds(plot.x_range[0], y):
                lines.add(
                    DashedLine(
                        plot.c2p(plot.x_range[0], y),
                        plot.c2p(plot.x_range[1], y),
                        color=self.theme.violet,
                        stroke_width=3,
                    )
                )
        if len(lines):
            self.play(
                *(Create(each) for each in lines),
                caption="Asymptotes: lines that the graph comes ever closer to",
                run_time=0.9,
            )
        else:
            self.say("No asymptotes here")
        self.wait(1.2)

    def _mirror(self, f: kit.Formula, x0: float, x1: float) -> None:
        plot, theme = self.plot, self.theme
        line = DashedLine(plot.c2p(x0, x0), plot.c2p(x1, x1), color=theme.muted, stroke_width=3)
        mirror = VGroup()
        for piece in plot.pieces(f, x0, x1):
            path = VMobject(stroke_color=theme.teal, stroke_width=theme.stroke)
            path.set_points_as_corners(plot.c2p(piece[:, 1], piece[:, 0]))
            mirror.add(path)
        original = plot.curve(f, theme.blue)
        self.play(Create(line), caption="Mirrored at the line y = x: the inverse", run_time=0.8)
        self.play(
            *(original[i].animate.become(mirror[i]) for i in range(min(len(original), len(mirror)))), run_time=1.6
        )
        self.wait(0.6)


def _apart(a: VGroup, b: VGroup) -> bool:
    return (
        abs(a.get_x() - b.get_x()) > (a.width + b.width) / 2 + 0.05
        or abs(a.get_y() - b.get_y()) > (a.height + b.height) / 2 + 0.02
    )
