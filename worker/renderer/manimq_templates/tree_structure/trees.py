"""The trees themselves, and what happens to them operation by operation, without any drawing."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Any, NamedTuple

from .. import kit

Key = Any
_HUFFMAN_MAX = 12
_NODES_MAX = 40
EMPTY = "•"
"""The label of a trie's root: no letter yet."""


class Snapshot(NamedTuple):
    """The tree at one moment. Nodes are ``id: (label, parent id, place among siblings)``."""

    note: str
    nodes: dict[int, tuple[str, int | None, int]]
    path: tuple[int, ...] = ()
    marked: tuple[int, ...] = ()
    binary: bool = True


def snapshots(kind: str, operations: list[dict[str, Any]]) -> list[Snapshot]:
    """All moments of all operations."""
    ops = [(each.get("op", "insert"), each["value"]) for each in operations]
    return {"bst": _bst, "heap": _heap, "trie": _trie, "huffman": _huffman}[kind](ops)


def written(value: Any) -> str:
    """A key as it is drawn."""
    return kit.given(value) if isinstance(value, int | float) else (kit.clean(value) or "–")


def _order(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, kit.clean(value))


class _Node:
    def __init__(self, number: int, key: Key) -> None:
        self.id, self.key = number, key
        self.left: _Node | None = None
        self.right: _Node | None = None


def _bst(ops: list[tuple[str, Key]]) -> list[Snapshot]:
    root: _Node | None = None
    found: list[Snapshot] = []
    count = 0

    def picture(note: str, path: list[_Node], marked: tuple[int, ...] = ()) -> None:
        nodes: dict[int, tuple[str, int | None, int]] = {}

        def walk(node: _Node | None, parent: int | None, place: int) -> None:
            if node:
                nodes[node.id] = (written(node.key), parent, place)
                walk(node.left, node.id, 0)
                walk(node.right, node.id, 1)

        walk(root, None, 0)
        found.append(Snapshot(note, nodes, tuple(n.id for n in path), marked))

    for op, key in ops:
        path: list[_Node] = []
        node = root
        while node and _order(node.key) != _order(key):
            path.append(node)
            node = node.left if _order(key) < _order(node.key) else node.right
        name = written(key)
        way = ", ".join(f"{name} {'<' if _order(key) < _order(n.key) else '>'} {written(n.key)}" for n in path[-3:])
        if op == "insert":
            if node:
                picture(f"{name} is there already", [*path, node])
                continue
            count += 1
            fresh = _Node(count, key)
            if path:
                picture(f"Insert {name}: {way}", path)
                if _order(key) < _order(path[-1].key):
                    path[-1].left = fresh
                else:
                    path[-1].right = fresh
            else:
                root = fresh
            picture(f"{name} goes {'here' if path else 'to the root'}", [], (fresh.id,))
        elif op == "search":
            picture(f"Search {name}: {way or 'look at the root'}", [*path, *([node] if node else [])])
            picture(
                f"{name} is found after {kit.counted(len(path) + 1, 'comparison')}" if node else f"{name} is not in the tree",
                [*path],
                (node.id,) if node else (),
            )
        elif not node:
            picture(f"{name} is not there, so nothing is deleted", path)
        else:
            picture(f"Delete {name}", path, (node.id,))
            if node.left and node.right:
                parent, after = node, node.right
                while after.left:
                    parent, after = after, after.left
                node.key, removed = after.key, after
                if parent is node:
                    parent.right = removed.right
                else:
                    parent.left = removed.right
                picture(f"The next larger one, {written(node.key)}, takes its place", [], (node.id,))
            else:
                child = node.left or node.right
                if not path:
                    root = child
                elif path[-1].left is node:
                    path[-1].left = child
                else:
                    path[-1].right = child
                picture(f"{name} is gone" + ("; its child moves up" if child else ""), [])
    return found


def _heap(ops: list[tuple[str, Key]]) -> list[Snapshot]:
    heap: list[tuple[int, Key]] = []
    found: list[Snapshot] = []

    def picture(note: str, marked: tuple[int, ...] = ()) -> None:
        nodes = {
            number: (written(key), heap[(i - 1) // 2][0] if i else None, (i - 1) % 2 if i else 0)
            for i, (number, key) in enumerate(heap)
        }
        found.append(Snapshot(note, nodes, (), marked))

    for number, (op, key) in enumerate(ops, start=1):
        if op == "search":
            there = [n for n, k in heap if _order(k) == _order(key)]
            picture(
                f"{written(key)} is {'in the heap' if there else 'not in the heap'}: one has to look everywhere",
                tuple(there),
            )
            continue
        if op == "insert":
            heap.append((number, key))
            i = len(heap) - 1
            picture(f"Insert {written(key)} at the end", (number,))
            while i and _order(heap[i][1]) < _order(heap[(i - 1) // 2][1]):
                up = (i - 1) // 2
                heap[i], heap[up] = heap[up], heap[i]
                i = up
                picture("It is smaller than its parent: they change places", (number,))
            continue
        if not heap:
            picture("The heap is empty")
            continue
        least = heap[0]
        picture(f"Take the smallest: {written(least[1])}", (least[0],))
        last = heap.pop()
        if heap:
            heap[0] = last
            picture("The last one goes to the top", (last[0],))
            i = 0
            while True:
                below = [c for c in (2 * i + 1, 2 * i + 2) if c < len(heap)]
                if not below:
                    break
                child = min(below, key=lambda c: _order(heap[c][1]))
                if _order(heap[child][1]) >= _order(heap[i][1]):
                    break
                heap[i], heap[child] = heap[child], heap[i]
                i = child
                picture("It sinks below the smaller child", (last[0],))
        else:
            picture("The heap is empty")
    return found


def _trie(ops: list[tuple[str, Key]]) -> list[Snapshot]:
    children: dict[int, dict[str, int]] = {0: {}}
    ends: set[int] = set()
    found: list[Snapshot] = []

    def picture(note: str, path: list[int]) -> None:
        nodes: dict[int, tuple[str, int | None, int]] = {0: (EMPTY, None, 0)}
        for parent, below in children.items():
            for place, (letter, child) in enumerate(sorted(below.items())):
                nodes[child] = (letter, parent, place)
        found.append(Snapshot(note, nodes, tuple(path), tuple(sorted(ends)), binary=False))

    for op, key in ops:
        word = "".join(written(key).split())[:10]
        path, node = [0], 0
        for letter in word:
            child = children[node].get(letter)
            if child is None:
                if op != "insert" or len(children) >= _NODES_MAX:
                    break
                child = children[node][letter] = len(children)
                children[child] = {}
            node = child
            path.append(node)
        whole = len(path) == len(word) + 1
        if op == "insert":
            if whole:
                ends.add(node)
            picture(f"Insert “{word}”: letters that are there are shared", path)
        elif op == "search":
            there = whole and node in ends
            picture(f"“{word}” is {'a word in the trie' if there else 'not in the trie'}", path)
        else:
            if whole:
                ends.discard(node)
            picture(f"Delete “{word}”: its end is no end any more" if whole else f"“{word}” is not there", path)
    return found


def _huffman(ops: list[tuple[str, Key]]) -> list[Snapshot]:
    text = "".join(written(key) for op, key in ops if op == "insert") or "a"
    counts = Counter(text.replace(" ", "␣")).most_common(_HUFFMAN_MAX)
    labels: dict[int, str] = {}
    parent: dict[int, tuple[int, int]] = {}
    heap: list[tuple[int, int]] = []
    for number, (letter, times) in enumerate(sorted(counts), start=1):
        labels[number] = f"{letter} {times}"
        heapq.heappush(heap, (times, number))
    found: list[Snapshot] = []

    def picture(note: str, marked: tuple[int, ...] = ()) -> None:
        nodes: dict[int, tuple[str, int | None, int]] = {}
        for number, label in labels.items():
            up = parent.get(number)
            nodes[number] = (label, up[0] if up else None, up[1] if up else 0)
        found.append(Snapshot(note, nodes, (), marked))

    picture("Each letter with how often it comes")
    while len(heap) > 1:
        (one, a), (two, b) = heapq.heappop(heap), heapq.heappop(heap)
        fresh = len(labels) + 1
        labels[fresh] = str(one + two)
        parent[a], parent[b] = (fresh, 0), (fresh, 1)
        heapq.heappush(heap, (one + two, fresh))
        picture(f"Join the two rarest: {one} + {two} = {one + two}", (a, b, fresh))
    bits = 0
    for number, label in labels.items():
        if " " in label:
            deep, up = 0, parent.get(number)
            while up:
                deep, up = deep + 1, parent.get(up[0])
            bits += max(1, deep) * int(label.split()[1])
    picture(f"Left is 0, right is 1: {bits} bits in all, {8 * sum(c for _, c in counts)} with eight a letter")
    return found
