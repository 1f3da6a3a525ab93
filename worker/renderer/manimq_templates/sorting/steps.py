"""The sorting algorithms, as lists of what they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple


class Step(NamedTuple):
    """One thing that happens. ``i`` and ``j`` are places in the list."""

    kind: Literal["compare", "swap", "move", "place", "note"]
    i: int = 0
    j: int = 0
    note: str = ""
    done: tuple[int, ...] = ()
    """Places that hold their final number from here on."""


def bubble(a: list[float]) -> Iterator[Step]:
    for end in range(len(a) - 1, 0, -1):
        yield Step("note", note="Compare neighbours; the larger one goes to the right")
        swapped = False
        for i in range(end):
            yield Step("compare", i, i + 1)
            if a[i] > a[i + 1]:
                a[i], a[i + 1] = a[i + 1], a[i]
                swapped = True
                yield Step("swap", i, i + 1)
        if not swapped:
            yield Step("note", note="No swap in a whole pass: sorted", done=tuple(range(len(a))))
            return
        yield Step("note", note="The largest of the rest is in its place", done=(end,))
    yield Step("note", done=(0,))


def selection(a: list[float]) -> Iterator[Step]:
    for start in range(len(a) - 1):
        yield Step("note", note="Find the smallest of the rest")
        least = start
        for j in range(start + 1, len(a)):
            yield Step("compare", least, j)
            if a[j] < a[least]:
                least = j
        if least != start:
            a[start], a[least] = a[least], a[start]
            yield Step("swap", start, least)
        yield Step("note", note="It goes to the front", done=(start,))
    yield Step("note", done=(len(a) - 1,))


def insertion(a: list[float]) -> Iterator[Step]:
    for i in range(1, len(a)):
        yield Step("note", note="Take the next one, move it left until it fits")
        j = i
        while j > 0:
            yield Step("compare", j - 1, j)
            if a[j - 1] <= a[j]:
                break
            a[j - 1], a[j] = a[j], a[j - 1]
            yield Step("swap", j - 1, j)
            j -= 1
    yield Step("note", done=tuple(range(len(a))))


def quick(a: list[float]) -> Iterator[Step]:
    yield from _quick(a, 0, len(a) - 1)


def _quick(a: list[float], low: int, high: int) -> Iterator[Step]:
    if low > high:
        return
    if low == high:
        yield Step("note", done=(low,))
        return
    yield Step("note", note="The last one is the pivot: smaller ones go to its left")
    middle = low
    for j in range(low, high):
        yield Step("compare", j, high)
        if a[j] < a[high]:
            if middle != j:
                a[middle], a[j] = a[j], a[middle]
                yield Step("swap", middle, j)
            middle += 1
    if middle != high:
        a[middle], a[high] = a[high], a[middle]
        yield Step("swap", middle, high)
    yield Step("note", note="The pivot is in its place; both sides are sorted alike", done=(middle,))
    yield from _quick(a, low, middle - 1)
    yield from _quick(a, middle + 1, high)


def merge(a: list[float]) -> Iterator[Step]:
    width = 1
    while width < len(a):
        name = "single numbers" if width == 1 else f"runs of {width}"
        yield Step("note", note=f"Merge {name}: the smaller head goes first")
        for low in range(0, len(a) - width, 2 * width):
            left, middle, right = low, low + width, min(low + 2 * width, len(a))
            while left < middle < right:
                yield Step("compare", left, middle)
                if a[middle] < a[left]:
                    a.insert(left, a.pop(middle))
                    yield Step("move", middle, left)
                    middle += 1
                left += 1
        width *= 2
    yield Step("note", done=tuple(range(len(a))))


ALGORITHMS = {"bubble": bubble, "selection": selection, "insertion": insertion, "merge": merge, "quick": quick}


def steps_of(algorithm: str, array: list[float]) -> list[Step]:
    """All that happens, in order."""
    return list(ALGORITHMS[algorithm](list(array)))
