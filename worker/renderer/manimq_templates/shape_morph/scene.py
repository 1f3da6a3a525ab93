"""Shape morph: a shape draws itself, sets out, and arrives as another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import (
    DOWN, PI, RIGHT, UP, Circle, Create, Ellipse, FadeIn, Mobject, Polygon, Rectangle, RegularPolygon, Square, Star,
    Transform, Triangle, VMobject, rate_functions,
)  # fmt: skip

from .. import kit


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 8.4

    def heading(self) -> str:
        return f"{self.p['from'].capitalize()} to {self.p['to']}"

    def story(self) -> None:
        theme, p, stage = self.theme, self.p, self.stage
        colours = [*(p.get("colours") or [])]
        first = colours[0] if colours else theme.red
        second = colours[1] if len(colours) > 1 else (theme.blue if not colours else first)
        start, goal = self._places(stage)
        one, two = self._shape(p["from"], first, start), self._shape(p["to"], second, goal)
        a, an = p["from"], p["to"]
        names = [
            self.text(name, "body", color=theme.muted, width=start.width).move_to([box.x, box.bottom + 0.25, 0])
            for name, box in ((a, start), (an, goal))
        ]
        self.play(Create(one), caption=f"{_article(a).capitalize()} {a} …", run_time=1.2)
        self.play(FadeIn(names[0]), run_time=0.4)
        self.wait(0.6)
        ghost = one.copy().set_fill(opacity=0).set_stroke(theme.faint, width=3)
        self.add(ghost, one)
        self.play(
            self._way(one, two), caption=f"… becomes {_article(an)} {an}",
            run_time=2.4, rate_func=rate_functions.ease_in_out_cubic,
        )  # fmt: skip
        self.play(FadeIn(names[1]), one.animate(rate_func=rate_functions.there_and_back).scale(1.08), run_time=0.7)

    def _places(self, stage: kit.Box) -> tuple[kit.Box, kit.Box]:
        if stage.tall:
            one, two = stage.rows(1, 1, gap=0.4)
        else:
            one, two = stage.columns(1, 1, gap=0.6)
        return one, two

    def _way(self, one: VMobject, two: VMobject) -> Transform:
        path = self.p.get("path", "arc")
        if path == "spiral":
            return Transform(one, two, path_func=_spiral(two.get_center()))
        return Transform(one, two, path_arc=0 if path == "straight" else -PI / 2.6)

    def _shape(self, name: str, colour: str, box: kit.Box) -> VMobject:
        made = _make(name)
        room = kit.Box(box.left, box.bottom + 0.6, box.width, box.height - 0.7)
        side = min(room.width, room.height, 3.6) * 0.92
        made.scale(side / max(made.width, made.height)).move_to(room.center)
        # A rim in ink: a shape in the colour of the ground is still there.
        rim = kit.Theme.of({"palette": "dark", "background": self.theme.background}).ink
        made.set_fill(colour, opacity=1).set_stroke(rim if _near(colour, self.theme.background) else colour, width=4)
        return made


def _near(a: str, b: str) -> bool:
    return math.dist([int(a[i : i + 2], 16) for i in (1, 3, 5)], [int(b[i : i + 2], 16) for i in (1, 3, 5)]) < 60


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _spiral(centre: np.ndarray) -> Any:
    def path(start: np.ndarray, end: np.ndarray, alpha: float) -> np.ndarray:
        turn = 2 * PI * alpha
        between = (1 - alpha) * start + alpha * end
        middle = (1 - alpha) * start.mean(axis=0) + alpha * end.mean(axis=0)
        away = between - middle
        c, s = math.cos(turn), math.sin(turn)
        return middle + away @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])

    return path


def _make(name: str) -> Mobject:
    match name:
        case "circle":
            return Circle()
        case "square":
            return Square()
        case "triangle":
            return Triangle()
        case "rectangle":
            return Rectangle(width=3.4, height=2)
        case "ellipse":
            return Ellipse(width=3.4, height=2.1)
        case "pentagon" | "hexagon":
            return RegularPolygon({"pentagon": 5, "hexagon": 6}[name], start_angle=PI / 2)
        case "star":
            return Star(5, outer_radius=1.2, inner_radius=0.5)
        case "diamond":
            return Polygon(1.3 * UP, RIGHT, 1.3 * DOWN, -RIGHT)
        case "arrow":
            half = [(-1.6, 0.35), (0.4, 0.35), (0.4, 0.95), (1.6, 0)]
            return Polygon(*([x, y, 0] for x, y in half), *([x, -y, 0] for x, y in reversed(half[:3])))
        case _:
            t = np.linspace(0, 2 * PI, 80)
            x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            return VMobject().set_points_smoothly([*np.stack([x, y, 0 * t], axis=1) / 16])


