"""Venn: two or three circles; what belongs to which stands in them, and regions light up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import PI, TAU, Circle, Create, Difference, FadeIn, FadeOut, Intersection, LaggedStart, Union, VGroup

from .. import kit
from ..kit.short import short

_REGION_S = 3.0
_LINE = 0.3
"""Least height of an item; those that have no room are counted."""


class Template(kit.TemplateScene):
    @classmethod
    def _regions(cls, p: dict[str, Any]) -> list[str]:
        return list(p.get("regions") or ["union", "intersection"])

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        items = any(each.get("items") for each in p["sets"])
        names = cls._names(p)
        sets_s = sum(cls._set_s(name) for name in names)
        return 2.3 + sets_s + (2.3 if items else 0) + sum(cls._region_s(each, names) for each in cls._regions(p))

    @staticmethod
    def _names(p: dict[str, Any]) -> list[str]:
        return [kit.clean(each["name"])[:40] or "?" for each in p["sets"]]

    @staticmethod
    def _set_s(name: str) -> float:
        return max(0.9, kit.read_s(f"The set {name}"))

    @classmethod
    def _region_s(cls, region: str, names: list[str]) -> float:
        return max(_REGION_S, kit.read_s(cls._said(region, names)))

    def heading(self) -> str:
        return "Sets"

    def story(self) -> None:
        theme, sets = self.theme, self.p["sets"]
        count = len(sets)
        self.names = self._names(self.p)
        self._place(count, self.stage)
        for index, circle in enumerate(self.circles):
            self.play(Create(circle), FadeIn(self.labels[index]), caption=f"The set {self.names[index]}", run_time=0.9)
            self.wait(self._set_s(self.names[index]) - 0.9)
        words = self._items(sets)
        if len(words):
            self.play(LaggedStart(*(FadeIn(each, scale=0.7) for each in words), lag_ratio=0.15), caption="What belongs to both stands where they overlap" if count == 2 else "What belongs to several stands where they overlap", run_time=1.4)
            self.wait(0.9)
        lit: Any = None
        for region in self._regions(self.p):
            shape, said = self._region(region), self._said(region, self.names)
            gone = [FadeOut(lit)] if lit is not None else []
            fresh = [FadeIn(shape)] if shape is not None else []
            lit = shape
            self.play(*gone, *fresh, caption=said, run_time=0.9)
            self.wait(self._region_s(region, self.names) - 0.9)

    def _place(self, count: int, stage: kit.Box) -> None:
        theme = self.theme
        room = stage.inset(0.1, 0.55) if count == 2 else stage.inset(0.1, 0.05)
        if count == 2:
            radius = min(room.height / 2, room.width / 3.25)
            away = radius * 0.62
            centers = [room.center + [-away, 0, 0], room.center + [away, 0, 0]]
        else:
            radius = min(room.height / 3.75, room.width / 3.3)
            away = radius * 0.74
            middle = room.center + [0, -0.12 * radius, 0]
            centers = [middle + away * np.array([math.cos(t), math.sin(t), 0]) for t in (PI / 2 + TAU / 3, PI / 2 - TAU / 3, PI / 2)]
        self.radius, self.centers = radius, centers
        self.circles, self.labels = [], []
        for index, center in enumerate(centers):
            colour = theme.colour(index)
            self.circles.append(Circle(radius=radius, color=colour, stroke_width=theme.stroke, fill_color=colour, fill_opacity=0.1).move_to(center))
            label = short(self, self.names[index], "body", radius * 1.6, weight="BOLD", color=colour)
            if count == 2:
                at = center + np.array([(-0.45 if index == 0 else 0.45) * radius, radius + label.height / 2 + 0.1, 0])
            elif index == 2:
                at = center + np.array([0, radius + label.height / 2 + 0.1, 0])
            else:
                aside = middle[0] + (-1 if index == 0 else 1) * (0.15 * radius + label.width / 2)
                at = np.array([aside, center[1] - radius - label.height / 2 - 0.1, 0])
            self.labels.append(label.move_to(at))
        whole = VGroup(*self.circles, *self.labels)
        before = whole.width
        kit.fit(whole, stage)
        scale = whole.width / before
        self.radius = radius * scale
        self.centers = [each.get_center() for each in self.circles]

    # ------------------------------------------------------------ what belongs where

    def _items(self, sets: list[dict[str, Any]]) -> VGroup:
        members = [list(dict.fromkeys(kit.clean(item) for item in each.get("items") or [] if kit.clean(item))) for each in sets]
        homes: dict[tuple[bool, ...], list[str]] = {}
        for item in dict.fromkeys(item for each in members for item in each):
            homes.setdefault(tuple(item in each for each in members), []).append(item)
        made = VGroup()
        for home, items in homes.items():
            box = self._home(home)
            most = max(1, min(5, int(box.height / _LINE)))
            shown = items if len(items) <= most else [*items[: most - 1], f"+ {len(items) - most + 1} more"]
            rows = box.rows(*[1] * len(shown), gap=0.05)
            for item, row in zip(shown, rows, strict=True):
                made.add(short(self, item, "small", row.width, height=min(0.5, row.height)).move_to(row.center).set_z_index(3))
        return made

    def _home(self, home: tuple[bool, ...]) -> kit.Box:
        """A box inside the region of exactly these sets."""
        r, centers = self.radius, self.centers
        inside = [c for c, here in zip(centers, home, strict=True) if here]
        outside = [c for c, here in zip(centers, home, strict=True) if not here]
        at = np.mean(inside, axis=0)
        middle = np.mean(centers, axis=0)
        if len(centers) == 2:
            if outside:
                at = inside[0] + (inside[0] - middle) / np.linalg.norm(inside[0] - middle) * 0.34 * r
            wide, tall = (0.66 * r, 0.9 * r)
        elif outside:
            way = (at - middle) / max(1e-9, float(np.linalg.norm(at - middle)))
            at = at + way * (0.38 * r if len(inside) == 1 else 0.26 * r)
            wide, tall = (0.86 * r, 0.62 * r) if len(inside) == 1 else (0.42 * r, 0.4 * r)
        else:
            wide, tall = 0.55 * r, 0.5 * r
        return kit.Box(at[0] - wide / 2, at[1] - tall / 2, wide, tall)

    # --------------------------------------------------------------------- regions

    @staticmethod
    def _said(region: str, names: list[str]) -> str:
        if region == "union":
            return f"{' ∪ '.join(names)}: in at least one of them"
        if region == "intersection":
            return f"{' ∩ '.join(names)}: in {'both' if len(names) == 2 else 'all of them'}"
        if region == "difference":
            return f"Only in {names[0]}, not in {' nor '.join(names[1:])}"
        if region == "symmetric_difference":
            return "In exactly one of them"
        return f"The complement: neither in {' nor in '.join(names)}"

    def _region(self, region: str) -> Any:
        theme, circles = self.theme, self.circles
        style = {"fill_color": theme.green, "fill_opacity": 0.55, "stroke_color": theme.green, "stroke_width": theme.stroke}
        shape: Any
        if region == "union":
            shape = Union(*circles, **style)
        elif region == "intersection":
            shape = Intersection(*circles, **style)
        elif region == "difference":
            rest = circles[1] if len(circles) == 2 else Union(*circles[1:])
            shape = Difference(circles[0], rest, **style)
        elif region == "symmetric_difference":
            pieces = [Difference(one, other if len(circles) == 2 else Union(*[each for each in circles if each is not one]), **style)
                      for one, other in zip(circles, circles[::-1], strict=True)]  # fmt: skip
            shape = VGroup(*pieces)
        else:
            frame = self.panel(self.stage, theme.background, 0.1)
            shape = Difference(frame, Union(*circles), **style)
        return shape.set_z_index(1)
