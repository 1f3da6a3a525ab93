"""Similarity: a figure and its enlarged copy; sides, angles and areas are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from manim import (
    DOWN,
    PI,
    RIGHT,
    TAU,
    Angle,
    Circle,
    Create,
    FadeIn,
    LaggedStart,
    Line,
    Polygon,
    TransformFromCopy,
    VGroup,
)

from .. import kit

_SHAPES = {
    "triangle": [(0, 0), (1.3, 0), (0.4, 0.95)],
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "rectangle": [(0, 0), (1.5, 0), (1.5, 0.9), (0, 0.9)],
    "pentagon": [(np.cos(t), np.sin(t)) for t in PI / 2 + (np.arange(5) + 2) * TAU / 5],
}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 14.6 if p.get("figure", "triangle") != "circle" else 12.8

    def heading(self) -> str:
        return {"triangle": "Similar triangles", "circle": "Similar circles"}.get(self.figure, "Similarity")

    @property
    def figure(self) -> str:
        return self.p.get("figure", "triangle")

    def story(self) -> None:
        theme, figure = self.theme, self.figure
        k = self.ratio = float(self.p.get("ratio", 2))
        room, facts = self.stage.rows(self.stage.height - 0.75, 0.6, gap=0.15)
        self.facts = facts.columns(1, 1, 1, gap=0.2)
        self._place(room)
        article = "An" if figure[0] in "aeiou" else "A"
        self.play(Create(self.small), caption=f"{article} {figure}", run_time=1.2)
        self.wait(0.6)
        way = "as large" if k >= 1 else "the size"
        self.play(
            TransformFromCopy(self.small, self.large),
            caption="A copy of the same shape and size" if k == 1 else f"The same shape, {self._times(k)} {way}", run_time=1.6,
        )  # fmt: skip
        self.wait(0.6)
        self._compare_lengths()
        if figure != "circle":
            self._compare_angles()
        self._compare_areas()

    @staticmethod
    def _times(k: float) -> str:
        return {2: "twice", 0.5: "half"}.get(k, f"{kit.num(k, 3)} times")

    def _place(self, room: kit.Box) -> None:
        """The figure and its copy, as large as the room allows."""
        theme, k = self.theme, self.ratio
        room = kit.Box(room.left, room.bottom + 0.55, room.width, room.height - 0.6)
        base = self._outline(1.0)
        gap = 1.0
        low = self._label_room = 0.5
        if room.tall:
            unit = min(room.width / (base.width * max(1, k)), (room.height - gap - low) / (base.height * (1 + k)))
        else:
            unit = min((room.width - gap) / (base.width * (1 + k)), room.height / (base.height * max(1, k)))
        unit = min(unit, 3.4 / max(base.width, base.height))
        self.small, self.large = self._outline(unit), self._outline(unit * k)
        for each, colour in ((self.small, theme.blue), (self.large, theme.amber)):
            each.set_stroke(colour, theme.stroke + 1).set_fill(theme.wash(colour), 1)
        pair = VGroup(self.small, self.large)
        if room.tall:
            pair.arrange(DOWN, buff=gap)
        else:
            pair.arrange(RIGHT, buff=gap, aligned_edge=DOWN)
        pair.move_to(room.center)

    def _outline(self, unit: float) -> Any:
        if self.figure == "circle":
            return Circle(radius=unit / 2)
        return Polygon(*[np.array([x, y, 0]) * unit for x, y in _SHAPES[self.figure]])

    def _fact(self, index: int, written: str, colour: str) -> VGroup:
        box = self.facts[index]
        return self.text(written, "small", weight="BOLD", color=colour, width=box.width, height=box.height).move_to(box.center)

    def _compare_lengths(self) -> None:
        theme, k = self.theme, self.ratio
        marks, labels = VGroup(), VGroup()
        name = "r" if self.figure == "circle" else "a"
        for shape, factor in ((self.small, 1.0), (self.large, k)):
            if self.figure == "circle":
                line = Line(shape.get_center(), shape.get_right())
            else:
                first, second = shape.get_vertices()[:2]
                line = Line(first, second)
            marks.add(line.set_stroke(theme.red, theme.stroke + 3))
            written = name if factor == 1 else f"{kit.num(factor, 3)}{name}"
            label = self.text(written, "body", color=theme.red, slant="ITALIC")
            under = shape.get_bottom()[1] if self.figure == "circle" else line.get_center()[1]
            labels.add(label.move_to([line.get_center()[0] if self.figure != "circle" else shape.get_x(), under - 0.34, 0]))
        said = f"Every length of the copy is {kit.num(k, 3)} times the first" if k != 1 else "Every length is the same"
        self.play(
            *(Create(each) for each in marks), FadeIn(labels), FadeIn(self._fact(0, f"lengths × {kit.num(k, 3)}", theme.red)),
            caption=said, run_time=1.2,
        )  # fmt: skip
        self.wait(1.0)

    def _compare_angles(self) -> None:
        theme = self.theme
        arcs = VGroup()
        radius = 0.32 * min(1.0, min(self.small.width, self.small.height, self.large.width, self.large.height) / 1.2)
        for shape in (self.small, self.large):
            corners = shape.get_vertices()
            count = len(corners)
            pair = VGroup()
            for i, corner in enumerate(corners):
                ahead, behind = Line(corner, corners[(i + 1) % count]), Line(corner, corners[i - 1])
                colour = (theme.green, theme.violet, theme.teal)[i % 3] if self.figure == "triangle" else theme.green
                pair.add(Angle(ahead, behind, radius=radius, color=colour, stroke_width=theme.stroke + 1))
            arcs.add(pair)
        self.play(
            LaggedStart(*(Create(arc) for pair in zip(*arcs, strict=True) for arc in pair), lag_ratio=0.15),
            FadeIn(self._fact(1, "angles equal", theme.green)), caption="Angles do not grow: they stay as they are", run_time=1.6,
        )  # fmt: skip
        self.wait(0.8)

    def _compare_areas(self) -> None:
        theme, k = self.theme, self.ratio
        squared = kit.num(k * k, 4)
        tiles = self._tiles()
        drawn = [LaggedStart(*(FadeIn(each, scale=0.6) for each in tiles), lag_ratio=0.3)] if len(tiles) else []
        said = f"Areas grow by {kit.num(k, 3)} × {kit.num(k, 3)} = {squared}" if k > 1 else f"The area is {squared} times the first"
        if len(tiles):
            said = f"{len(tiles)} {'of the first fit into the copy' if k > 1 else 'of the copy fit into the first'}: areas × {squared}"
        self.play(*drawn, FadeIn(self._fact(2, f"areas × {squared}", theme.amber)), caption=said, run_time=1.8)
        self.wait(1.0)

    def _tiles(self) -> VGroup:
        """The smaller figure, as often as it fits into the larger one, where it does so without a rest."""
        theme, k = self.theme, self.ratio
        tiles = VGroup()
        n = round(max(k, 1 / k))
        if abs(max(k, 1 / k) - n) > 1e-9 or not 2 <= n <= 4 or self.figure in ("circle", "pentagon"):
            return tiles
        shape, colour = (self.large, theme.blue) if k > 1 else (self.small, theme.amber)
        corners = shape.get_vertices()
        u, v = (corners[1] - corners[0]) / n, (corners[-1] - corners[0]) / n
        for j in range(n):
            for i in range(n):
                at = corners[0] + i * u + j * v
                if self.figure != "triangle":
                    tiles.add(Polygon(at, at + u, at + u + v, at + v))
                    continue
                if i + j < n:
                    tiles.add(Polygon(at, at + u, at + v))
                if i + j < n - 1:
                    tiles.add(Polygon(at + u, at + u + v, at + v))
        for index, tile in enumerate(tiles):
            tile.set_fill(theme.wash(colour, 0.5 if index % 2 else 0.36), 0.9).set_stroke(theme.background, 2).scale(0.97)
        return tiles
