"""Probability tree: it branches stage by stage; along a path the probabilities multiply."""

from __future__ import annotations

from dataclasses import dataclass, field
import re
from fractions import Fraction
from typing import Any

from manim import Dot, FadeIn, Line, VGroup

from .. import kit

_LEAVES_MAX = 12


@dataclass
class Node:
    """An outcome after others, with its probability given those."""

    outcome: str
    p: float
    shown: str
    depth: int
    path: tuple[str, ...] = ()
    children: list[Node] = field(default_factory=list)
    y: float = 0.0


def grow(p: dict[str, Any]) -> Node:
    """The whole tree; its root is no outcome."""
    root = Node("", 1.0, "1", 0)
    if p.get("urn"):
        _draw(
            root,
            [(each["outcome"], each["count"]) for each in p["urn"]],
            int(p.get("draws", 2)),
            bool(p.get("replacement")),
        )
    else:
        _stages(root, p.get("stages") or [[{"outcome": "yes", "p": 0.5}, {"outcome": "no", "p": 0.5}]])
    return root


def _stages(node: Node, stages: list[list[dict[str, Any]]]) -> None:
    for each in stages[0] if stages else []:
        child = Node(
            each["outcome"],
            kit.value(each["p"]),
            kit.shown(each["p"], latex=True),
            node.depth + 1,
            (*node.path, each["outcome"]),
        )
        node.children.append(child)
        _stages(child, stages[1:])


def _draw(node: Node, urn: list[tuple[str, int]], draws: int, replacement: bool) -> None:
    total = sum(count for _, count in urn)
    if draws == 0 or total == 0:
        return
    for index, (outcome, count) in enumerate(urn):
        if count == 0:
            continue
        child = Node(outcome, count / total, rf"\frac{{{count}}}{{{total}}}", node.depth + 1, (*node.path, outcome))
        node.children.append(child)
        left = urn if replacement else [(o, c - (i == index)) for i, (o, c) in enumerate(urn)]
        _draw(child, left, draws - 1, replacement)


class Template(kit.TemplateScene):
    @classmethod
    def _depth(cls, p: dict[str, Any]) -> int:
        return (int(p.get("draws", 2)) if p.get("urn") else len(p.get("stages") or [1])) or 1

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 3.4 + 2.0 * cls._depth(p) + (3.5 if p.get("query") else 1.5)

    def heading(self) -> str:
        return "Probability tree"

    def story(self) -> None:
        theme, p = self.theme, self.p
        root = self.root = grow(p)
        self._prune(root, tuple(p.get("query") or ()))
        depth = max(1, self._deepest(root))
        stage = self.stage
        below = 1.1
        self.result_box = kit.Box(stage.left, stage.bottom, stage.width, below)
        box = kit.Box(stage.left, stage.bottom + below + 0.1, stage.width, stage.height - below - 0.1)
        leaves: list[Node] = []
        self._leaves(root, leaves)
        for index, leaf in enumerate(leaves):
            leaf.y = box.top - box.height * (index + 0.5) / len(leaves)
        self._middle(root)
        self.colours = {name: theme.colour(i) for i, name in enumerate(dict.fromkeys(self._outcomes(root)))}
        # After the last branches there are names as well.
        step = (box.width - 0.4) / (depth + 0.4)
        self.slot = box.height / len(leaves)
        self.size = min(0.42, 0.86 * self.slot)
        self.parts: dict[tuple[str, ...], VGroup] = {}
        start = Dot([box.left + 0.15, root.y, 0], radius=0.1, color=theme.ink)
        self.play(FadeIn(start), run_time=0.4)
        level = [root]
        for number in range(1, depth + 1):
            fresh = []
            names, chances = [], []
            for node in level:
                for child in node.children:
                    part, name, chance = self._branch(node, child, box.left + 0.15, step)
                    names.append(name)
                    chances.append(chance)
                    self.parts[child.path] = part
                    fresh.append(part)
            kit.even(names)
            self.name_width = max((each.width for each in names), default=0.0)
            level = [child for node in level for child in node.children]
            if fresh:
                caption = "Each branch with its probability" if number == 1 else "Then again, from each outcome"
                self.play(*(FadeIn(each) for each in fresh), caption=caption, run_time=0.9)
            self.wait(1.1)
        if p.get("query"):
            self._query(tuple(p["query"]))
        else:
            self.say("Along a path, probabilities are multiplied; all paths together make 1")
            self.wait(1.0)

    def _prune(self, root: Node, query: tuple[str, ...]) -> None:
        """A tree too large to be read keeps its last stage only where the path that is asked for goes."""
        leaves: list[Node] = []
        self._leaves(root, leaves)
        if len(leaves) <= _LEAVES_MAX:
            return
        deep = self._deepest(root) - 1
        keep = root
        for index in range(deep):
            keep = next(
                (each for each in keep.children if index < len(query) and each.outcome == query[index]),
                keep.children[0],
            )

        def walk(node: Node) -> None:
            if node.depth == deep and node is not keep:
                node.children = []
            for each in node.children:
                walk(each)

        walk(root)

    def _deepest(self, node: Node) -> int:
        return max([node.depth, *(self._deepest(each) for each in node.children)])

    def _leaves(self, node: Node, found: list[Node]) -> None:
        if not node.children:
            found.append(node)
        for each in node.children:
            self._leaves(each, found)

    def _middle(self, node: Node) -> float:
        if node.children:
            ys = [self._middle(each) for each in node.children]
            node.y = (ys[0] + ys[-1]) / 2
        return node.y

    def _outcomes(self, node: Node) -> list[str]:
        return [name for each in node.children for name in (each.outcome, *self._outcomes(each))]

    def _branch(self, node: Node, child: Node, left: float, step: float) -> tuple[VGroup, kit.Lines, Any]:
        theme = self.theme
        colour = self.colours[child.outcome]
        room = 0.4 * step
        # The next branches begin where the names before them end.
        x0 = left + node.depth * step + (self.name_width + 0.2 if node.depth else 0.0)
        x1 = left + child.depth * step - 0.08
        # A name too long for its place is cut rather than too small to read.
        name = self.text(
            kit.clean(child.outcome) or "–", "small", color=colour, weight="MEDIUM", width=room - 0.12, height=self.size, align="left",
            lines_max=1, least=0.52,
        )  # fmt: skip
        name.move_to([x1 + 0.14 + name.width / 2, child.y, 0])
        dot = Dot([x1, child.y, 0], radius=min(0.07, self.size / 4), color=colour)
        line = Line([x0, node.y, 0], [x1, child.y, 0], color=theme.muted, stroke_width=2.5)
        # Lines that lie close carry their numbers in turn nearer and farther, and small enough.
        at = 0.6 if len(node.children) < 3 else (0.45, 0.72)[node.children.index(child) % 2]
        ys = [each.y for each in node.children]
        apart = min((abs(one - two) for one, two in zip(ys, ys[1:], strict=False)), default=1.0) * at
        chance = kit.fit(
            self.tex(_inline(child.shown) if apart < 0.5 else child.shown, size="small"), kit.Box(0, 0, 0.8, max(0.2, min(0.62, 0.85 * apart))), at=None
        )
        chance.move_to(line.point_from_proportion(at))
        kit.halo(chance, theme.background, 9)
        return VGroup(line, dot, name, chance), name, chance

    def _query(self, path: tuple[str, ...]) -> None:
        theme = self.theme
        nodes, node = [], self.root
        for outcome in path:
            node = next((each for each in node.children if each.outcome == outcome), None)
            if node is None:
                break
            nodes.append(node)
        if not nodes or len(nodes) < len(path):
            self.say("The path that was asked for is not in this tree")
            self.wait(2.0)
            return
        lit = [self.parts[each.path] for each in nodes]
        others = [part for key, part in self.parts.items() if part not in lit]
        self.play(
            *(each.animate.set_opacity(0.3) for each in others), *(each[0].animate.set_stroke(theme.green, width=6) for each in lit),
            caption="Follow the path, and multiply", run_time=1.0,
        )  # fmt: skip
        self.wait(0.6)
        total = 1.0
        for each in nodes:
            total *= each.p
        exact = kit.nice_fraction(total)
        sign = "=" if abs(round(100 * total, 1) - 100 * total) < 1e-9 else r"\approx"
        value = rf"= {kit.tex_num(exact)} {sign}" if isinstance(exact, Fraction) and exact.denominator > 1 else sign
        written = r" \cdot ".join(each.shown for each in nodes)
        formula = self.tex(rf"{written} {value} {kit.tex_num(100 * total, 3)}\,\%", size="heading", color=theme.green)
        self.play(FadeIn(kit.fit(formula, self.result_box)), run_time=0.9)
        self.wait(1.0)


def _inline(latex: str) -> str:
    """A fraction on one line: where rows are low its halves would be too small to read."""
    return re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", latex)
