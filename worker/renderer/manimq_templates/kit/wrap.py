"""Where a text breaks into lines. Widths are estimated from kinds of letters; nothing is drawn for it.

Words stay whole as long as the text can be read so; then long ones break at soft
places (after ``_ - / . ,``, between letters and digits), then between any letters.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

READABLE = 14.0
"""Font size below which words break, and below which nothing shrinks but numbers.

The layout check calls text too small from 11.4 down, in the smallest films that jobs make; scenes
shrink some groups a little more.
"""
WHOLE, SOFT, ANYWHERE = range(3)
"""What may be broken: between words only; words at soft places; words between any two letters."""

_SHRINK_FIRST = 0.8
"""One line, as long as it need not be smaller."""
LINE = 1.14
"""Distance of base lines, in heights of a line."""
_STEPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.29, 0.24, 0.2)
_BETTER = 1.05
"""What a break must gain in size."""
_TRIES = 12

_NARROW = frozenset("iIjl.,:;'!|·’‘")
_SLIM = frozenset("frt()[]{}/\\\" ")
_WIDE = frozenset("mwMW%@—…")
_NUMBER = re.compile(r"[\s\d.,:×+\-−–×·/%°√π=()¹²³⁰-⁹₀-₉]*")
_AFTER = frozenset("_-/.,:;&+=?|\\@·–—")
_HYPHEN = "-"


class Step(NamedTuple):
    """A piece of text, and what stands between it and the piece before: a space, nothing, or a hyphen if the line ends there."""

    piece: str
    glue: str


class Broken(NamedTuple):
    """Lines, how much smaller than asked they come out, and what they are a part of: the text, or what was kept of it."""

    lines: list[str]
    scale: float
    kept: str


def breadth(written: str, mono: bool = False) -> float:
    """About how wide a text is, in widths of a middling letter."""
    return sum(_breadth(each, mono) for each in written)


@lru_cache(4096)
def _breadth(letter: str, mono: bool) -> float:
    if unicodedata.combining(letter) or letter == "\u200d":
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.7
    if mono:
        return 1.0
    if letter in _NARROW:
        return 0.52
    if letter in _SLIM:
        return 0.76
    if letter in _WIDE:
        return 1.8
    return 1.4 if letter.isupper() or not letter.isascii() else 1.22


def lines_of(written: str, room: float, kind: int, width_of: Callable[[str], float]) -> list[str]:
    """The text in lines of at most that width, as far as ``kind`` allows."""
    lines, line = [], ""
    todo = [Step(piece, glue) for word in written.split() for piece, glue in _words(word)][::-1]
    while todo:
        piece, glue = todo.pop()
        soft = bool(todo) and todo[-1].glue == _HYPHEN
        joined = line + (" " if line and glue == " " else "") + piece
        if width_of(joined + (_HYPHEN if soft else "")) <= room:
            line = joined
            continue
        smaller = _smaller(piece, glue, kind) if width_of(piece) > room else []
        if smaller:
            todo.extend(smaller[::-1])
            continue
        if line:
            lines.append(line + (_HYPHEN if glue == _HYPHEN else ""))
        line = piece
    return [*lines, line] if line else lines or [written]


def _smaller(piece: str, glue: str, kind: int) -> list[Step]:
    """The parts of a piece that is too long for a line; none if it may not be broken."""
    for parts in (_soft(piece) if kind >= SOFT else [], _letters(piece) if kind >= ANYWHERE else []):
        if len(parts) > 1:
            return [Step(parts[0].piece, glue), *parts[1:]]
    return []


def _words(word: str) -> list[Step]:
    """A word as texts are broken anyhow: after its hyphens, and between ideographs."""
    parts = re.findall(r".+?\w-(?=\w)|.+", word) if "-" in word else [word]
    steps = [Step(each, "") for part in parts for each in _ideographs(part)]
    return [Step(steps[0].piece, " "), *steps[1:]]


def _ideographs(part: str) -> list[str]:
    found = [""]
    for each in part:
        wide = unicodedata.east_asian_width(each) == "W" and unicodedata.category(each) == "Lo"
        if wide and found[-1]:
            found.append("")
        found[-1] += each
    return found


def _soft(piece: str) -> list[Step]:
    found = [Step(piece[0], "")]
    for before, each in zip(piece, piece[1:], strict=False):
        after_mark = before in _AFTER and each not in _AFTER
        turns = before.isdigit() != each.isdigit() and before.isalnum() and each.isalnum()
        hump = before.islower() and each.isupper()
        if after_mark or turns or hump:
            found.append(Step(each, ""))
        else:
            found[-1] = Step(found[-1].piece + each, found[-1].glue)
    return found


def _letters(piece: str) -> list[Step]:
    """Letter for letter, but for marks on letters and the two at either end, which look lost alone."""
    clusters: list[str] = []
    for each in piece:
        if clusters and (unicodedata.category(each)[0] == "M" or each == "\u200d" or clusters[-1].endswith("\u200d")):
            clusters[-1] += each
        else:
            clusters.append(each)
    if len(clusters) >= 6:
        clusters = ["".join(clusters[:2]), *clusters[2:-2], "".join(clusters[-2:])]
    steps = [Step(clusters[0], "")]
    for before, each in zip(clusters, clusters[1:], strict=False):
        words = before[-1].isalpha() and each[0].isalpha() and not _unhyphened(each[0])
        steps.append(Step(each, _HYPHEN if words else ""))
    return steps


def _unhyphened(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def broken(
    written: str, whole: float, unit: float, font_size: float, width: float, height: float, lines_max: int,
    least: float = 0.0, mono: bool = False,
) -> Broken:  # fmt: skip
    """Lines for a text that is ``whole`` wide and ``unit`` high on one line.

    It comes out at a readable size, or at ``least`` of its own if that is more: what has no room then is an
    ellipsis. Numbers alone are never broken nor cut, for a part of one is another number.
    """
    one = Broken([written], min(1.0, width / max(whole, 1e-6), height / unit), written)
    if one.scale >= _SHRINK_FIRST or len(written) < 2:
        return one
    number = _NUMBER.fullmatch(written) is not None
    unit_width = whole / max(breadth(written, mono), 1e-6)

    def width_of(text: str) -> float:
        return unit_width * breadth(text, mono)

    # A low box makes any text small; breaking or cutting it would not help.
    enough = min(max(least, READABLE / font_size), 0.95 * height / unit, 1.0)
    best = one
    for kind in (WHOLE, SOFT, ANYWHERE) if lines_max > 1 else ():
        found = _best(written, width_of, unit, width, height, lines_max, kind)
        if found.scale > best.scale * (_BETTER if kind else 1.0):
            best = found
        if best.scale >= enough or number:
            return best
    if best.scale >= enough or number:
        return best
    return _cut(written, best, lambda text: _at(text, width_of, unit, width, height, lines_max, enough), enough)


def _best(
    written: str, width_of: Callable[[str], float], unit: float, width: float, height: float, lines_max: int, kind: int
) -> Broken:
    """As large as the height allows."""
    best = Broken([written], 0.0, written)
    for shrink in _STEPS:
        room = 0.98 * width / shrink
        lines = lines_of(written, room, kind, width_of)
        if len(lines) > lines_max:
            continue
        reached = _reached(lines, width_of, unit, width, height, shrink)
        if reached > best.scale + 1e-9:
            best = Broken(_balanced(lines, written, room, kind, width_of), reached, written)
        if height / _tall(lines, unit) >= shrink and reached >= 0.97 * shrink:
            break
    return best


def _at(
    written: str, width_of: Callable[[str], float], unit: float, width: float, height: float, lines_max: int, scale: float
) -> Broken:
    """Broken for just that size, whatever it comes to."""
    lines = [written]
    if lines_max > 1:
        lines = lines_of(written, 0.98 * width / scale, ANYWHERE, width_of)
    reached = _reached(lines, width_of, unit, width, height, 1.0) if len(lines) <= lines_max else 0.0
    return Broken(lines, reached, written)


def _cut(written: str, uncut: Broken, at: Callable[[str], Broken], enough: float) -> Broken:
    """The longest beginning that can be read, with an ellipsis."""
    fits, low, high = None, 1, len(written) - 1
    while low <= high:
        middle = (low + high) // 2
        tried = at(written[:middle].rstrip("… .,;:-") + "…")
        if tried.scale >= enough:
            fits, low = tried, middle + 1
        else:
            high = middle - 1
    return fits or uncut


def _tall(lines: list[str], unit: float) -> float:
    return unit * (1 + LINE * (len(lines) - 1))


def _reached(
    lines: list[str], width_of: Callable[[str], float], unit: float, width: float, height: float, most: float
) -> float:
    longest = max(map(width_of, lines))
    return min(most, width / max(longest, 1e-6), height / _tall(lines, unit))


def _balanced(lines: list[str], written: str, room: float, kind: int, width_of: Callable[[str], float]) -> list[str]:
    """The same number of lines, as even as they get: no single word at the end."""
    if len(lines) < 2 or not math.isfinite(room):
        return lines
    count, breaks = len(lines), _inside(lines, written)
    mean = width_of(written) / count
    ways = [lines]
    for step in range(_TRIES):
        tried = lines_of(written, mean + (room - mean) * step / _TRIES, kind, width_of)
        if len(tried) == count and max(map(width_of, tried)) <= room and _inside(tried, written) <= breaks:
            ways.append(tried)
    return min(ways, key=lambda way: sum((width_of(line) - mean) ** 2 for line in way))


def _inside(lines: list[str], written: str) -> int:
    """How many lines end within a word."""
    words = set(written.split())
    return sum(each.split()[-1] not in words for each in lines[:-1] if each.split())
