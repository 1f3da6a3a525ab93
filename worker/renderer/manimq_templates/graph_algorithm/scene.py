"""Graph algorithm: the graph stays where it is; colours say what is done, what is looked at, and what is kept."""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
from manim import Circle, FadeIn, FadeOut, LaggedStart, Line, RoundedRectangle, VGroup

from .. import kit
from .steps import Edge, Step, steps_of

_BODY_S, _EACH_S = 20.0, 3.2
_HURRIED = 40.0
"""Characters a second where there are many steps: their captions differ in names and numbers only."""
_NAMES = {
    "bfs": "Breadth-first search", "dfs": "Depth-first search", "dijkstra": "Dijkstra's shortest paths",
    "kruskal": "Kruskal's spanning tree", "prim": "Prim's spanning tree",
}  # fmt: skip


def graph_of(p: dict[str, Any]) -> tuple[list[str], list[Edge], str]:
    """Nodes, edges (the lightest of parallel ones, no loops) and the start."""
    nodes = [kit.clean(each) or "?" for each in p.get("nodes") or []]
    edges: dict[frozenset[str], Edge] = {}
    for each in p["edges"]:
        a, b = (kit.clean(each[end]) or "?" for end in ("from", "to"))
        nodes += [a, b]
        w = float(each.get("weight", 1))
        key = frozenset((a, b))
        if a != b and (key not in edges or w < edges[key][2]):
            edges[key] = (a, b, w)
    nodes = list(dict.fromkeys(nodes))
    start = kit.clean(p.get("start") or "")
    return nodes, list(edges.values()), start if start in nodes else nodes[0]


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 5.4 + sum(cls._times(p))

    @classmethod
    def _steps(cls, p: dict[str, Any]) -> list[Step]:
        return steps_of(p.get("algorithm", "bfs"), *graph_of(p))

    @classmethod
    def _times(cls, p: dict[str, Any]) -> list[float]:
        """Seconds of each step: long enough to read, fewer where there are many."""
        steps = cls._steps(p)
        each = round(max(1.0, min(_EACH_S, _BODY_S / max(1, len(steps)))), 1)
        rate = 25 if each == _EACH_S else _HURRIED
        return [max(each, kit.read_s(step.note, rate)) for step in steps]

    def heading(self) -> str:
        return _NAMES[self.p.get("algorithm", "bfs")]

    def story(self) -> None:
        p = self.p
        nodes, edges, _ = graph_of(p)
        self.algorithm = p.get("algorithm", "bfs")
        self.weighted = any("weight" in each for each in p["edges"]) or self.algorithm not in ("bfs", "dfs")
        state_box, box = self.stage.rows(0.5, self.stage.height - 0.5, gap=0.12)
        self.state_box = state_box
        self._draw(nodes, edges, box)
        self.play(
            LaggedStart(*(FadeIn(each) for each in self.lines.values()), lag_ratio=0.05),
            LaggedStart(*(FadeIn(each, scale=0.6) for each in self.dots.values()), lag_ratio=0.08), FadeIn(self.weights), run_time=1.4,
        )  # fmt: skip
        self.state: Any = VGroup()
        self.tags: dict[str, Any] = {}
        self.tag_texts: dict[str, str] = {}
        for step, seconds in zip(self._steps(p), self._times(p), strict=True):
            self._step(step, seconds)
        self._step(self._steps(p)[-1]._replace(note=self._end(self._steps(p)), current="", trying=()), 1.2)

    def _end(self, steps: list[Step]) -> str:
        last = steps[-1]
        reached = set(last.done)
        missing = len(self.dots) - len(reached)
        if self.algorithm in ("kruskal", "prim"):
            whole = len(last.tree) == len(self.dots) - 1
            return (
                "The green edges connect all nodes as cheaply as can be"
                if whole
                else "The graph is not connected: this is all that can be joined"
            )
        if missing:
            return f"Done: {kit.counted(missing, 'node')} cannot be reached"
        return (
            "Done: the green edges are the shortest ways"
            if self.algorithm == "dijkstra"
            else "Done: every node was visited once"
        )

    def _draw(self, nodes: list[str], edges: list[Edge], box: kit.Box) -> None:
        theme = self.theme
        graph = networkx.Graph()
        graph.add_nodes_from(nodes)
        graph.add_edges_from((a, b) for a, b, _ in edges)
        self.radius = 0.42 if len(nodes) <= 7 else 0.36 if len(nodes) <= 10 else 0.31
        places = self._places(graph, box.inset(self.radius + 0.1, self.radius + 0.32), self.radius)
        self.dots: dict[str, VGroup] = {}
        for node in nodes:
            circle = Circle(self.radius, color=theme.muted, stroke_width=3, fill_color=theme.panel, fill_opacity=1)
            label = self._name(node)
            self.dots[node] = VGroup(circle, label).move_to(places[node])
        self.lines: dict[frozenset[str], Line] = {}
        self.weights = VGroup()
        taken: list[np.ndarray] = [places[node] for node in nodes]
        for a, b, w in edges:
            line = Line(places[a], places[b], color=theme.muted, stroke_width=3.5)
            line.set_z_index(-2)
            self.lines[frozenset((a, b))] = line
            if self.weighted:
                label = self.text(kit.given(w), "tiny", weight="MEDIUM", lines_max=1, width=1.2)
                back = RoundedRectangle(
                    width=label.width + 0.16,
                    height=label.height + 0.12,
                    corner_radius=0.08,
                    stroke_width=0,
                    fill_color=theme.background,
                    fill_opacity=1,
                )
                # Where it is farthest from nodes and other weights.
                spots = [places[a] + t * (places[b] - places[a]) for t in (0.5, 0.4, 0.6, 0.33, 0.67)]
                spot = max(
                    spots, key=lambda s: min((float(np.linalg.norm(s - o)) for o in taken), default=1.0) if taken else 0
                )
                taken.append(spot)
                self.weights.add(VGroup(back, label).move_to(spot).set_z_index(-1))

    @staticmethod
    def _places(graph: networkx.Graph, box: kit.Box, radius: float) -> dict[str, np.ndarray]:
        """Flat where the graph can be drawn so, then evened out; as large as the box."""
        count = len(graph)
        if count == 1:
            return dict.fromkeys(graph, box.center)
        circle = networkx.circular_layout(graph)
        try:
            flat = networkx.planar_layout(graph) if count > 4 else circle
        except networkx.NetworkXException:
            flat = circle
        ratio = box.width / box.height
        # Parts that nothing joins are laid out as if something did, or they would fall on each other.
        joined = graph.copy()
        parts = [sorted(part) for part in networkx.connected_components(graph)]
        joined.add_edges_from((a[0], b[0]) for a, b in zip(parts, parts[1:], strict=False))
        spread = networkx.kamada_kawai_layout(joined, pos=flat)
        points = np.array([spread[node] for node in graph])
        # Turned so that its longer side lies along the box's.
        centred = points - points.mean(axis=0)
        if np.abs(centred).max() > 1e-9:
            axes = np.linalg.svd(centred)[2]
            centred = centred @ axes.T
            if ratio < 1:
                centred = centred[:, ::-1]
        low, high = centred.min(axis=0), centred.max(axis=0)
        span = np.maximum(high - low, 1e-9)
        scaled = (centred - low) / span
        if span.min() < 1e-6 * span.max():
            scaled[:, int(span.argmin())] = 0.5
        places = np.array([box.at(*at) for at in scaled])
        return dict(zip(graph, _apart(places, 2.7 * radius, box), strict=True))

    def _name(self, node: str) -> kit.Lines:
        """A node's name in its circle; one that could not be read is cut short."""
        for length in (len(node), 10, 6, 4, 3):
            written = node if length >= len(node) else node[: length - 1] + "…"
            label = self.text(
                written, "small", weight="SEMIBOLD", width=1.62 * self.radius, height=1.2 * self.radius, lines_max=2
            )
            if label.shrunk >= 0.45:
                break
        return label

    def _free_side(self, node: str) -> tuple[float, float, float]:
        """Where beside a node no edge passes."""
        centre = self.dots[node].get_center()
        sides = ((0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0))

        def room(side: tuple[float, float, float]) -> float:
            at = centre + (self.radius + 0.28) * np.array(side)
            if not (self.stage.left < at[0] < self.stage.right and self.stage.bottom < at[1] < self.stage.top):
                return -1.0
            found = 9.0
            for line in self.lines.values():
                start, way = line.get_start(), line.get_end() - line.get_start()
                t = float(np.clip((at - start) @ way / max(float(way @ way), 1e-9), 0, 1))
                found = min(found, float(np.linalg.norm(start + t * way - at)))
            return min(found, 0.5)

        return max(sides, key=room)

    def _step(self, step: Step, seconds: float) -> None:
        theme = self.theme
        changes = []
        tree = {frozenset(e) for e in step.tree}
        trying, dropped = {frozenset(e) for e in step.trying}, {frozenset(e) for e in step.dropped}
        for key, line in self.lines.items():
            if key in tree:
                look = (theme.green, 7.0)
            elif key in dropped:
                look = (theme.faint, 2.5)
            elif key in trying:
                look = (theme.amber, 6.0)
            else:
                look = (theme.muted, 3.5)
            if (line.get_color().to_hex().lower(), line.get_stroke_width()) != (look[0].lower(), look[1]):
                changes.append(line.animate.set_stroke(look[0], width=look[1]))
        for node, dot in self.dots.items():
            colour = (
                theme.amber
                if node == step.current
                else theme.green
                if node in step.done
                else theme.blue
                if node in step.seen
                else theme.muted
            )
            fill = theme.panel if colour == theme.muted else theme.wash(colour, 0.4)
            if dot[0].get_stroke_color().to_hex().lower() != colour.lower():
                changes.append(
                    dot[0].animate.set_stroke(colour, width=3 if colour == theme.muted else 5).set_fill(fill)
                )
        for node, written in step.tags:
            if self.tag_texts.get(node) != written:
                tag = self.text(written, "small", color=theme.teal, weight="SEMIBOLD", width=1.4, lines_max=1)
                tag.next_to(self.dots[node], self._free_side(node), buff=0.07)
                kit.halo(tag, theme.background, 6)
                kit.keep_in(tag, self.safe)
                if node in self.tags:
                    changes.append(FadeOut(self.tags[node], run_time=0.2))
                changes.append(FadeIn(tag))
                self.tags[node], self.tag_texts[node] = tag, written
        if step.state != getattr(self, "state_text", ""):
            self.state_text = step.state
            fresh = self.text(
                step.state, "small", color=theme.teal, width=self.state_box.width, height=0.6, lines_max=2
            ).move_to(self.state_box.center)
            changes += [FadeOut(self.state), FadeIn(fresh)] if len(self.state) else [FadeIn(fresh)]
            self.state = fresh
        self.play(*changes, caption=step.note, run_time=0.6)
        self.wait(max(0.1, seconds - 0.6))


def _apart(places: np.ndarray, least: float, box: kit.Box) -> np.ndarray:
    """Pushes nodes away from each other until none covers another, inside the box."""
    least = min(least, 0.9 * (box.width * box.height / max(1, len(places))) ** 0.5)
    low, high = np.array([box.left, box.bottom, 0.0]), np.array([box.right, box.top, 0.0])
    for _ in range(200):
        way = places[:, None] - places[None]
        far = np.linalg.norm(way, axis=2)
        np.fill_diagonal(far, least)
        if far.min() >= least:
            break
        # Two in one place part along fixed directions, so that a film is always the same.
        turn = np.arange(len(places))
        nudge = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
        push = (np.maximum(least - far, 0.0) / np.maximum(far, 1e-6))[..., None] * way
        push = push.sum(axis=1) + 1e-3 * nudge
        places = np.clip(places + 0.3 * push, low, high)
    return places
