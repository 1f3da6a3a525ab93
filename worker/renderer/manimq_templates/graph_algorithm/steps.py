"""The algorithms, as lists of what happens to nodes and edges."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

from .. import kit

Edge = tuple[str, str, float]


class Step(NamedTuple):
    """One moment: which node is looked at, which edges light up, what is said."""

    note: str
    current: str = ""
    done: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    tree: tuple[tuple[str, str], ...] = ()
    trying: tuple[tuple[str, str], ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    state: str = ""


def _neighbours(edges: list[Edge]) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for a, b, w in edges:
        found.setdefault(a, []).append((b, w))
        if a != b:
            found.setdefault(b, []).append((a, w))
    return found


def search(nodes: list[str], edges: list[Edge], start: str, deep: bool) -> list[Step]:
    """Breadth or depth first."""
    near = {node: sorted(pairs, key=lambda e: nodes.index(e[0])) for node, pairs in _neighbours(edges).items()}
    steps, done, tree, order = [], [], [], []
    waiting: list[tuple[str, str | None]] = [(start, None)]
    seen = {start}
    while waiting:
        node, parent = waiting.pop() if deep else waiting.pop(0)
        if node in done:
            continue
        if parent is not None:
            tree.append((parent, node))
        done.append(node)
        order.append(node)
        fresh = [other for other, _ in near.get(node, []) if other not in (done if deep else seen)]
        for other in reversed(fresh) if deep else fresh:
            waiting.append((other, node))
            seen.add(other)
        line = [each for each, _ in (reversed(waiting) if deep else waiting) if each not in done]
        line = list(dict.fromkeys(line))
        name = "Stack" if deep else "Queue"
        note = f"Visit {node}" + (
            f"; put its new neighbours on the {'stack' if deep else 'queue'}" if fresh else "; nothing new here"
        )
        steps.append(
            Step(
                note,
                node,
                tuple(done),
                tuple(seen),
                tuple(tree),
                state=f"Order: {' → '.join(order)} · {name}: {', '.join(line) or 'empty'}",
            )
        )
    return steps


def dijkstra(nodes: list[str], edges: list[Edge], start: str) -> list[Step]:
    """Shortest paths from a node."""
    near = _neighbours(edges)
    best = {node: math.inf for node in nodes} | {start: 0.0}
    parent: dict[str, str] = {}
    done: list[str] = []
    heap = [(0.0, nodes.index(start), start)]
    steps = [Step(f"{start} is 0 away from itself; all others are unknown", start, tags=_tags(best))]
    while heap:
        distance, _, node = heapq.heappop(heap)
        if node in done:
            continue
        done.append(node)
        better, tried = [], []
        for other, weight in near.get(node, []):
            if other in done:
                continue
            tried.append((node, other))
            if distance + weight < best[other]:
                best[other], parent[other] = distance + weight, node
                heapq.heappush(heap, (best[other], nodes.index(other), other))
                better.append(f"{other} = {kit.given(distance)} + {kit.given(weight)} = {kit.given(best[other])}")
        note = (
            f"{node} is nearest: {kit.given(distance)} is final"
            if node != start
            else f"Look from {start} at its neighbours"
        )
        if better:
            note += f". Shorter: {'; '.join(better[:2])}" + (" …" if len(better) > 2 else "")
        tree = tuple((parent[each], each) for each in nodes if each in parent)
        steps.append(Step(note, node, tuple(done), tree=tree, trying=tuple(tried), tags=_tags(best)))
    return steps


def _tags(best: dict[str, float]) -> tuple[tuple[str, str], ...]:
    return tuple((node, kit.given(d)) for node, d in best.items())


def kruskal(nodes: list[str], edges: list[Edge]) -> list[Step]:
    """A least spanning tree, lightest edges first."""
    group = {node: node for node in nodes}

    def top(node: str) -> str:
        while group[node] != node:
            node = group[node]
        return node

    steps, tree, dropped, total = [], [], [], 0.0
    for a, b, w in sorted(edges, key=lambda e: e[2]):
        if top(a) == top(b):
            dropped.append((a, b))
            note = f"{a}–{b} ({kit.given(w)}) would close a circle: leave it"
        else:
            group[top(a)] = top(b)
            tree.append((a, b))
            total += w
            note = f"{a}–{b} ({kit.given(w)}) is the lightest left: take it"
        ends = tuple(dict.fromkeys(n for e in tree for n in e))
        steps.append(
            Step(
                note,
                "",
                ends,
                tree=tuple(tree),
                trying=((a, b),),
                dropped=tuple(dropped),
                state=f"Total: {kit.given(total)}",
            )
        )
    return steps


def prim(nodes: list[str], edges: list[Edge], start: str) -> list[Step]:
    """A least spanning tree that grows from a node."""
    inside, tree, total = [start], [], 0.0
    steps = [Step(f"Begin with {start}", start, (start,), state="Total: 0")]
    while True:
        across = [(w, a, b) for a, b, w in edges if (a in inside) != (b in inside)]
        if not across:
            return steps
        w, a, b = min(across, key=lambda e: e[0])
        fresh = b if a in inside else a
        inside.append(fresh)
        tree.append((a, b))
        total += w
        note = f"The lightest edge out of the tree: {a}–{b} ({kit.given(w)})"
        tried = tuple((x, y) for _, x, y in across)
        steps.append(
            Step(note, fresh, tuple(inside), tree=tuple(tree), trying=tried, state=f"Total: {kit.given(total)}")
        )


def steps_of(algorithm: str, nodes: list[str], edges: list[Edge], start: str) -> list[Step]:
    """All that happens, in order."""
    if algorithm in ("bfs", "dfs"):
        return search(nodes, edges, start, algorithm == "dfs")
    if algorithm == "dijkstra":
        return dijkstra(nodes, edges, start)
    if algorithm == "kruskal":
        return kruskal(nodes, edges) or [Step("There are no edges", state="Total: 0")]
    return prim(nodes, edges, start)
