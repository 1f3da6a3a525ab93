"""Trees: after each operation every node moves to its new place."""

from __future__ import annotations

from typing import Any

import numpy as np
from manim import Circle, Dot, FadeIn, FadeOut, Line, RoundedRectangle, VGroup

from .. import kit
from .trees import EMPTY, Snapshot, snapshots

_BODY_S, _EACH_S = 20.0, 1.8
_HURRIED = 40.0
"""Characters a second where there are many operations: their captions differ in numbers only."""
_SMALL_R = 0.25
"""Radius below which a trie lies down, if that makes it larger."""
_PILL, _DIGIT = 0.75, 0.14
"""Width that a label may have however small the nodes are, and a number for each of its digits."""
_NAMES = {"bst": "Binary search tree", "heap": "Binary heap", "trie": "Trie", "huffman": "Huffman tree"}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 3.2 + sum(cls._times(p))

    @staticmethod
    def _moments(p: dict[str, Any]) -> list[Snapshot]:
        return snapshots(p.get("kind", "bst"), p["operations"])

    @classmethod
    def _times(cls, p: dict[str, Any]) -> list[float]:
        """Seconds of each moment: many go by faster, but none before it can be read."""
        moments = cls._moments(p)
        each = round(max(0.9, min(_EACH_S, _BODY_S / max(1, len(moments)))), 1)
        rate = 25 if each == _EACH_S else _HURRIED
        return [max(each, kit.read_s(moment.note, rate)) for moment in moments]

    def heading(self) -> str:
        return _NAMES[self.p.get("kind", "bst")]

    def story(self) -> None:
        self.box = self.stage.inset(0.3, 0.2)
        moments = self._moments(self.p)
        depth = max((self._depth(each) for each in moments), default=1)
        widest = max((self._width(each) for each in moments), default=1)
        self.deepest = depth
        # One size for the whole film, so that nodes do not breathe.
        upright, lying = (self._sizes(depth, widest, *size) for size in self._ways())
        # Left and right mean something in a binary tree; long words of a trie are read along the picture.
        self.lies = not any(each.binary for each in moments) and upright[2] < min(_SMALL_R, lying[2])
        self.step, self.row, self.radius = lying if self.lies else upright
        # Neighbours by column are above one another in a binary tree, so a label has the room of two.
        self.room = (1.55 if any(each.binary for each in moments) else 0.8) * self.step
        self.shown: dict[int, VGroup] = {}
        self.lines: dict[int, Line] = {}
        for moment, seconds in zip(moments, self._times(self.p), strict=True):
            self._show(moment, seconds)

    # ---------------------------------------------------------------- where things are

    def _ways(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Room across and along the generations, of a tree that stands and of one that lies."""
        return (self.box.width, self.box.height), (self.box.height, self.box.width)

    @staticmethod
    def _sizes(depth: int, widest: int, across: float, along: float) -> tuple[float, float, float]:
        """From sibling to sibling, from generation to generation, and the radius of a node."""
        step, row = across / max(1, widest), min(1.5, along / max(1, depth))
        return step, row, max(0.15, min(0.42, 0.46 * step, 0.36 * row))

    @staticmethod
    def _children(moment: Snapshot) -> dict[int | None, list[int]]:
        found: dict[int | None, list[int]] = {}
        for number, (_, parent, place) in sorted(moment.nodes.items(), key=lambda e: e[1][2]):
            found.setdefault(parent, []).append(number)
        return found

    def _columns(self, moment: Snapshot) -> dict[int, tuple[float, int]]:
        """Column and row of each node: in order for binary trees, leaves side by side for others."""
        below = self._children(moment)
        places: dict[int, tuple[float, int]] = {}
        column = 0

        def walk(node: int, row: int) -> None:
            nonlocal column
            children = below.get(node, [])
            if moment.binary:
                left = [c for c in children if moment.nodes[c][2] == 0]
                right = [c for c in children if moment.nodes[c][2] == 1]
                for each in left:
                    walk(each, row + 1)
                places[node] = (column, row)
                column += 1
                for each in right:
                    walk(each, row + 1)
                return
            for each in children:
                walk(each, row + 1)
            if children:
                places[node] = ((places[children[0]][0] + places[children[-1]][0]) / 2, row)
            else:
                places[node] = (column, row)
                column += 1

        for root in below.get(None, []):
            walk(root, 0)
        return places

    def _depth(self, moment: Snapshot) -> int:
        return max((row for _, row in self._columns(moment).values()), default=0) + 1

    def _width(self, moment: Snapshot) -> int:
        return int(max((column for column, _ in self._columns(moment).values()), default=0)) + 1

    def _places(self, moment: Snapshot) -> dict[int, np.ndarray]:
        columns = self._columns(moment)
        if not columns:
            return {}
        last = max(column for column, _ in columns.values())
        step = min(self.step, 1.5)
        if self.lies:
            left = self.box.x - self.row * self.deepest / 2
            return {
                node: np.array([left + self.row * (row + 0.5), self.box.y + step * (last / 2 - column), 0])
                for node, (column, row) in columns.items()
            }
        left = self.box.x - step * last / 2
        return {
            node: np.array([left + step * column, self.box.top - self.row * (row + 0.5), 0])
            for node, (column, row) in columns.items()
        }

    # -------------------------------------------------------------------- what is seen

    def _node(self, label: str) -> VGroup:
        theme, r = self.theme, self.radius
        if label == EMPTY:
            shape: Any = Circle(r).set_stroke(theme.blue, width=3).set_fill(theme.panel, opacity=1)
            return VGroup(shape, Dot(radius=0.3 * r, color=theme.ink))
        words = self.text(
            label,
            "small",
            weight="SEMIBOLD",
            width=max(1.6 * r, min(self.room, max(1.9 * r, _pill(label)))),
            height=1.6 * r,
            lines_max=1,
        )
        if words.width > 1.65 * r:
            shape = RoundedRectangle(width=words.width + 0.5 * r, height=1.5 * r, corner_radius=0.6 * r)
        else:
            shape = Circle(r)
        shape.set_stroke(theme.blue, width=3).set_fill(theme.panel, opacity=1)
        return VGroup(shape, words)

    def _show(self, moment: Snapshot, seconds: float) -> None:
        theme, places = self.theme, self._places(moment)
        changes: list[Any] = []
        fresh: set[int] = set()
        for number, (label, _, _) in moment.nodes.items():
            lit = number in moment.marked
            colour = theme.green if lit else theme.amber if number in moment.path else theme.blue
            fill = theme.wash(colour, 0.35) if colour != theme.blue else theme.panel
            known = self.shown.get(number)
            if known is not None and getattr(known, "label", None) != label:
                changes.append(FadeOut(known))
                known = None
            if known is None:
                node = self._node(label).move_to(places[number])
                node.label = label
                node[0].set_stroke(colour).set_fill(fill)
                self.shown[number] = node
                fresh.add(number)
                changes.append(FadeIn(node, scale=0.5))
            else:
                changes.append(known.animate.move_to(places[number]))
                # Colours at once: two animations of one thing would fight.
                known[0].set_stroke(colour).set_fill(fill)
        for number in [each for each in self.shown if each not in moment.nodes]:
            changes.append(FadeOut(self.shown.pop(number)))
        for number in list(self.lines):
            if number not in moment.nodes or moment.nodes[number][1] is None:
                changes.append(FadeOut(self.lines.pop(number)))
        for number, (_, parent, _) in moment.nodes.items():
            if parent is None:
                continue
            goal = Line(places[parent], places[number], color=theme.muted, stroke_width=3).set_z_index(-1)
            if number in moment.path and parent in moment.path:
                goal.set_stroke(theme.amber, width=5)
            if number in self.lines:
                changes.append(self.lines[number].animate.become(goal))
            else:
                self.lines[number] = goal
                changes.append(FadeIn(goal))
        self.play(*changes, caption=moment.note, run_time=0.6)
        self.wait(max(0.1, seconds - 0.6))


def _pill(label: str) -> float:
    """How wide the node of a label may be: a number is neither broken nor cut."""
    return max(_PILL, _DIGIT * len(label)) if label.lstrip("−").replace(".", "").isdecimal() else _PILL
