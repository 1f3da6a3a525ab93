"""Where the boxes of a flow stand: each one layer after those that lead to it."""

from __future__ import annotations

from itertools import combinations


def layers(count: int, edges: list[tuple[int, int]]) -> list[list[int]]:
    """Nodes by layer, in an order that keeps neighbours near each other. Edges that close a circle do not count."""
    forward = _without_circles(count, edges)
    depth = [0] * count
    for _ in range(count):
        for start, end in forward:
            depth[end] = max(depth[end], depth[start] + 1)
    found: list[list[int]] = [[] for _ in range(max(depth, default=0) + 1)]
    for node in range(count):
        found[depth[node]].append(node)
    place = {node: i for layer in found for i, node in enumerate(layer)}
    for layer in found[1:]:
        def middle(node: int) -> float:
            before = [place[start] for start, end in forward if end == node]
            return sum(before) / len(before) if before else place[node]

        layer.sort(key=middle)
        place.update({node: i for i, node in enumerate(layer)})
    return found


def folded(order: list[list[int]], rows: int) -> list[tuple[int, int]] | None:
    """Row and column of each layer when the flow turns back ``rows - 1`` times, like a snake; the narrowest way.

    It turns only where one box follows one box, so that its arrow down meets no other. None where it cannot.
    """
    turns = [i for i in range(1, len(order)) if len(order[i - 1]) == len(order[i]) == 1]
    ways = [_snake(len(order), cut) for cut in combinations(turns, rows - 1)]
    return min(ways, key=lambda way: (max(column for _, column in way), sum(lanes(order, way))), default=None)


def lanes(order: list[list[int]], way: list[tuple[int, int]]) -> list[int]:
    """How many boxes stand above each other in each row."""
    found = [1] * (way[-1][0] + 1)
    for layer, (row, _) in zip(order, way, strict=True):
        found[row] = max(found[row], len(layer))
    return found


def _snake(count: int, turns: tuple[int, ...]) -> list[tuple[int, int]]:
    row = column = 0
    step, way = 1, [(0, 0)]
    for depth in range(1, count):
        if depth in turns:
            row, step = row + 1, -step
        else:
            column += step
        way.append((row, column))
    first = min(column for _, column in way)
    return [(row, column - first) for row, column in way]


def _without_circles(count: int, edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in edges:
        if start != end and not _reaches(end, start, kept):
            kept.append((start, end))
    return kept


def _reaches(start: int, goal: int, edges: list[tuple[int, int]]) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        at = waiting.pop()
        if at == goal:
            return True
        fresh = [end for begin, end in edges if begin == at and end not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return False
