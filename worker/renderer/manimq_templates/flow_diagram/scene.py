"""Flow diagram: boxes and arrows appear from the start to the end, then a request runs along a path."""

from __future__ import annotations

from typing import Any

import numpy as np
from manim import Arrow, Create, CurvedArrow, Dot, FadeIn, FadeOut, GrowArrow, MoveAlongPath, RoundedRectangle, VGroup, VMobject

from .. import kit
from ..kit.short import short
from .layers import folded, lanes, layers
from .routes import BENDS, Rect, Route, best, bow, crosses, straight

_NODE_S, _HOP_S = 0.8, 0.9
_EVEN = 0.6
_LOW = 0.45
"""Boxes lower than this have room for one line of small letters only."""
_LABEL_LEAST, _LABEL_TALL = 0.8, 0.62
"""How much smaller a label between two boxes may be, and how tall one above them."""
_ALONG = (0.5, 0.38, 0.62, 0.26, 0.74)
"""Where along an arrow its label may stand, the best first."""
_ROWS_MAX, _TURN = 4, 0.3
"""Rows of a folded flow, and what is between them beside the usual gap."""


class Template(kit.TemplateScene):
    @classmethod
    def _nodes(cls, p: dict[str, Any]) -> tuple[list[str], list[tuple[int, int, str]]]:
        names = list(dict.fromkeys(kit.clean(each) or "?" for each in p["nodes"]))
        place = {name: i for i, name in enumerate(names)}
        if p.get("edges") is None:
            return names, [(i, i + 1, "") for i in range(len(names) - 1)]
        edges = []
        for each in p["edges"]:
            start, end = place.get(kit.clean(each["from"])), place.get(kit.clean(each["to"]))
            if start is not None and end is not None and start != end and not any(e[:2] == (start, end) for e in edges):
                edges.append((start, end, kit.clean(each.get("label") or "")))
        return names, edges

    @classmethod
    def _path(cls, p: dict[str, Any]) -> list[int]:
        """The highlighted path; without one, all of a chain."""
        names, edges = cls._nodes(p)
        if p.get("highlight"):
            found = [names.index(kit.clean(each)) for each in p["highlight"] if kit.clean(each) in names]
            return found if len(found) > 1 else []
        return list(range(len(names))) if p.get("edges") is None and len(names) > 1 else []

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        names, edges = cls._nodes(p)
        path = cls._path(p)
        count = len(layers(len(names), [each[:2] for each in edges]))
        return 3.7 + 2 * _NODE_S * count + (0.7 + sum(cls._run_s(names, path)) if path else 0)

    @staticmethod
    def _said(names: list[str], path: list[int]) -> list[str]:
        """Where the request is."""
        return [f"From {names[path[0]]} …", *(f"… to {names[node]}" for node in path[1:])]

    @classmethod
    def _run_s(cls, names: list[str], path: list[int]) -> list[float]:
        said = cls._said(names, path)
        return [max(_HOP_S if i else 0.7, kit.read_s(each)) for i, each in enumerate(said)]

    def heading(self) -> str:
        return "Flow"

    def story(self) -> None:
        names, edges = self._nodes(self.p)
        order = layers(len(names), [each[:2] for each in edges])
        self._place(names, order, edges)
        pairs = {each[:2] for each in edges}
        self.routes = {(start, end): self._route(start, end, (end, start) in pairs) for start, end in pairs}
        shown: set[int] = set()
        drawn: set[int] = set()
        for layer in order:
            self.play(*(FadeIn(self.boxes[node], scale=0.85) for node in layer), run_time=_NODE_S)
            shown.update(layer)
            ready = [i for i, (start, end, _) in enumerate(edges) if i not in drawn and start in shown and end in shown]
            arrows = [self._arrow(*edges[i]) for i in ready]
            drawn.update(ready)
            if arrows:
                self.play(*(animation for each in arrows for animation in each), run_time=_NODE_S)
            else:
                self.wait(_NODE_S)
        path = self._path(self.p)
        if path:
            self._run(path, names)

    def _place(self, names: list[str], order: list[list[int]], edges: list[tuple[int, int, str]]) -> None:
        stage = self.stage.inset(0.1)
        way = self.p.get("layout", "auto")
        deep, broad = len(order), max(map(len, order))
        wide = stage.width / deep * 0.68
        # Lying boxes are read more easily, as long as layers above each other leave them their height.
        lying = min(3.6, stage.width / broad - 0.3) > 1.5 * wide and stage.height / deep * 0.6 > 0.6
        across = way == "horizontal" or (way == "auto" and not stage.tall and wide > 1.0 and not (wide < 1.6 and lying))
        main, cross = (stage.width, stage.height) if across else (stage.height, stage.width)
        step, lane = main / deep, cross / broad
        gap = min(0.95, step * 0.32) if across else min(0.7, step * 0.4)
        wide = min(3.0, step - gap) if across else min(3.6, lane - 0.3)
        tall = min(1.15, lane - 0.25) if across else min(1.0, step - gap)
        self.across, self.gap, self.folded = across, gap, False
        self.depth = {node: depth for depth, layer in enumerate(order) for node in layer}
        places = []
        for depth, layer in enumerate(order):
            for index, node in enumerate(layer):
                along = (depth - (deep - 1) / 2) * step
                aside = ((len(layer) - 1) / 2 - index) * lane
                places.append((node, stage.center + (np.array([along, aside, 0]) if across else np.array([-aside, -along, 0]))))
        # Arrows back bend around a straight flow; around a folded one they would cross its boxes.
        onward = all(self.depth[start] < self.depth[end] for start, end, _ in edges)
        fold = self._fold(names, order) if way == "auto" and not across and tall < _LOW and onward else None
        if fold:
            wide, tall, self.gap, places = fold
            self.across = self.folded = True
        self._draw(names, wide, tall, places)

    def _fold(self, names: list[str], order: list[list[int]]) -> tuple[float, float, float, list[tuple[int, np.ndarray]]] | None:
        """Size of the boxes, the gap between them and where they stand, in the rows that let names be largest."""
        stage, best, found = self.stage.inset(0.1), 0.0, None
        for rows in range(2, _ROWS_MAX + 1):
            way = folded(order, rows)
            if way is None:
                continue
            counts = lanes(order, way)
            columns = max(column for _, column in way) + 1
            step, lane = stage.width / columns, (stage.height - _TURN * (rows - 1)) / sum(counts)
            gap = min(0.95, step * 0.26)
            wide, tall = min(3.0, step - gap), min(1.15, lane - 0.15)
            room = _room(wide, tall)
            letters = min(self.theme.tiny, *(self._letters(name, *room) for name in names))
            if letters <= best + 0.1:
                continue
            places = []
            for layer, (row, column) in zip(order, way, strict=True):
                x = stage.left + (column + 0.5) * step
                y = stage.top - (sum(counts[:row]) + counts[row] / 2) * lane - _TURN * row
                places += [(node, np.array([x, y + ((len(layer) - 1) / 2 - i) * lane, 0])) for i, node in enumerate(layer)]
            best, found = letters, (wide, tall, gap, places)
        return found

    def _letters(self, name: str, width: float, height: float) -> float:
        """The font size in which a name fits with its words whole."""
        size = self._size(name, width)
        return size * kit.planned(self.theme, name, size, width=width, height=height, lines_max=3)[1]

    def _draw(self, names: list[str], wide: float, tall: float, places: list[tuple[int, np.ndarray]]) -> None:
        theme = self.theme
        self.boxes: list[VGroup] = [VGroup()] * len(names)
        self.named: list[Rect] = []
        room = _room(wide, tall)
        # One size for all, unless one name is far too long.
        size = max(_EVEN * theme.body, min(self._size(name, room[0]) for name in names))
        labels = [self.text(name, size, weight="MEDIUM", width=room[0], height=room[1], lines_max=3) for name in names]
        least = max(_EVEN, min(each.shrunk for each in labels))
        for each in labels:
            each.scale(min(1.0, least / each.shrunk))
        for node, at in places:
            colour = theme.colour(self.depth[node])
            box = RoundedRectangle(width=max(0.6, wide), height=max(0.3, tall), corner_radius=0.12, color=colour, stroke_width=theme.stroke * 0.7)
            box.set_fill(theme.wash(colour, 0.2), 1)
            self.boxes[node] = VGroup(box, labels[node]).move_to(at)

    def _size(self, name: str, width: float) -> float:
        """What leaves a name's longest word whole."""
        words = [self.text(word, "body", weight="MEDIUM", lines_max=1).width for word in name.split()]
        return self.theme.body * min(1.0, 0.96 * width / max(0.1, *words))

    def _arrow(self, start: int, end: int, label: str) -> list[Any]:
        theme, route = self.theme, self.routes[start, end]
        first, last = route.points[0], route.points[-1]
        if route.bend:
            arrow: Any = CurvedArrow(first, last, angle=route.bend, color=theme.muted, stroke_width=theme.stroke * 0.8, tip_length=0.18)
            made: list[Any] = [Create(arrow)]
        else:
            arrow = Arrow(first, last, buff=0.06, color=theme.muted, stroke_width=theme.stroke, tip_length=0.18, max_tip_length_to_length_ratio=0.4)
            made = [GrowArrow(arrow)]
        if label:
            words = self._words(label, route, self.boxes[start][0], self.boxes[end][0])
            self.named.append(Rect.of(words))
            made.append(FadeIn(kit.halo(words, theme.background)))
        return made

    def _route(self, start: int, end: int, both: bool) -> Route:
        """Straight onwards, in a bow around boxes between; arrows back and pairs of arrows have a side each."""
        a, b = self.boxes[start][0], self.boxes[end][0]
        back = self.depth[end] <= self.depth[start]
        side = np.array([0, -1.0, 0]) if self.across else np.array([1.0, 0, 0])
        side = side if back else -side
        way = b.get_center() - a.get_center()
        ways = [] if back or both else [straight(_edge(a, way), _edge(b, -way))]
        for each in (side, -side):
            first, last = (box.get_center() + each * np.array([box.width, box.height, 0]) / 2 for box in (a, b))
            ways += [bow(first, last, each, angle) for angle in BENDS]
        others = [Rect.of(box[0]) for i, box in enumerate(self.boxes) if i not in (start, end)]
        return best(ways, others, _rect(self.stage))

    def _words(self, label: str, route: Route, a: Any, b: Any) -> kit.Lines:
        """The label of an arrow, where it lies on no box and on no other label."""
        way = b.get_center() - a.get_center()
        lies = self.across and not (self.folded and abs(way[0]) < 1e-6)
        beside = a.width / 2 + self.gap / 2 - 0.1 if self.folded else 1.8
        room = max(0.4, self.gap - 0.1) if lies else beside
        if route.bend:
            room = max(room, 0.6 * abs(way[0])) if lies else room
        elif lies and (words := self._above(label, a, b, room)) is not None:
            return words
        words = short(self, label, "tiny", room, color=self.theme.muted)
        aside = np.array([0, 0.16 + words.height / 2, 0]) if lies else np.array([0.14 + words.width / 2, 0, 0])
        if route.bend and aside @ route.side < 0:
            aside = -aside
        places = [
            route.points[round(share * (len(route.points) - 1))] + turn * aside for turn in (1, -1) for share in _ALONG
        ]
        return words.move_to(min(places, key=lambda place: self._harm(Rect.of(words.move_to(place)))))

    def _harm(self, label: Rect) -> int:
        """What is wrong with a label there: outside of the picture, on a box or a label, on an arrow."""
        safe, taken = self.safe, [*(Rect.of(box[0]) for box in self.boxes), *self.named]
        out = label.left < safe.left or label.right > safe.right or label.bottom < safe.bottom or label.top > safe.top
        on = sum(label.meets(each) for each in taken)
        return 100 * out + 10 * on + sum(crosses(route, [label]) for route in self.routes.values())

    def _above(self, label: str, a: Any, b: Any, room: float) -> kit.Lines | None:
        """A label that is too long for the gap between two boxes of one lane: over or under their corners, if nothing is there."""
        if self.text(label, "tiny", lines_max=1).width * _LABEL_LEAST <= room or abs(a.get_y() - b.get_y()) > 0.01:
            return None
        words = self.text(
            label, "tiny", color=self.theme.muted, width=abs(a.get_x() - b.get_x()) - 0.15, height=_LABEL_TALL, lines_max=2
        )
        for y in (a.get_top()[1] + 0.1 + words.height / 2, a.get_bottom()[1] - 0.1 - words.height / 2):
            own = Rect.of(words.move_to([(a.get_x() + b.get_x()) / 2, y, 0]))
            if self.stage.bottom <= own.bottom and own.top <= self.stage.top and not self._harm(own):
                return words
        return None

    def _run(self, path: list[int], names: list[str]) -> None:
        theme = self.theme
        said, seconds = self._said(names, path), self._run_s(names, path)
        dot = Dot(self.boxes[path[0]].get_center(), radius=0.14, color=theme.amber).set_z_index(3)
        lit = [self.boxes[path[0]][0].animate.set_stroke(theme.amber, theme.stroke * 1.6)]
        self.play(FadeIn(dot, scale=0.3), *lit, caption=said[0], run_time=seconds[0])
        for before, after, caption, hop_s in zip(path, path[1:], said[1:], seconds[1:], strict=False):
            ends = [self.boxes[node].get_center() for node in (before, after)]
            route = self.routes.get((before, after))
            line = VMobject().set_points_as_corners(ends if route is None else [ends[0], *route.points, ends[1]])
            self.play(
                MoveAlongPath(dot, line), self.boxes[after][0].animate.set_stroke(theme.amber, theme.stroke * 1.6),
                caption=caption, run_time=hop_s,
            )  # fmt: skip
        self.play(FadeOut(dot), run_time=0.4)


def _rect(box: kit.Box) -> Rect:
    return Rect(box.left, box.bottom, box.right, box.top)


def _room(wide: float, tall: float) -> tuple[float, float]:
    """What a box leaves for its name."""
    tall = max(0.3, tall)
    return max(0.6, wide) - 0.2, tall - min(0.16, 0.18 * tall)


def _edge(box: Any, way: np.ndarray) -> np.ndarray:
    """Where a line from the middle of a box leaves it."""
    half = np.array([box.width / 2, box.height / 2])
    reach = min(half[i] / abs(way[i]) if abs(way[i]) > 1e-6 else np.inf for i in (0, 1))
    return box.get_center() + way * reach
