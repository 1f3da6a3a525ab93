"""Linear equations as exact numbers, and the steps that solve them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from .. import kit

NAMES = ("x", "y", "z")
Row = list[Fraction]
"""Coefficients of the variables, then the right side."""


class Step(NamedTuple):
    """One change of the system."""

    row: int
    said: str
    rows: list[Row]


def rows_of(equations: list[dict[str, Any]], names: tuple[str, ...]) -> list[Row]:
    """The rows of the system.

    Raises:
        ValueError: an equation is not linear, or not a number where it is to be one; it is named.
    """
    return [_row(each, names) for each in equations]


def _row(equation: dict[str, Any], names: tuple[str, ...]) -> Row:
    text = equation.get("text") or equation.get("latex") or "an equation"
    side = kit.Formula({"text": text, "latex": "", "ast": ["-", equation["left"], equation["right"]]}, variables=names)

    def at(*given: float) -> float:
        return float(side(*given))

    count = len(names)
    zero = at(*[0.0] * count)
    units = [at(*[float(i == k) for i in range(count)]) - zero for k in range(count)]
    for probe in ([2.0, -3.0, 5.0], [-7.0, 11.0, 0.5]):
        expected = zero + sum(u * p for u, p in zip(units, probe, strict=False))
        if not abs(at(*probe[:count]) - expected) <= 1e-6 * (1 + abs(expected)):
            raise ValueError(f"{text[:80]!r} is not linear in {', '.join(names)}: write it like 2x + 3y = 7")
    return [*(_exact(each) for each in units), _exact(-zero)]


def _exact(number: float) -> Fraction:
    return Fraction(number).limit_denominator(1000)


def eliminate(rows: list[Row]) -> tuple[list[Step], list[Row]]:
    """Gauss and Jordan: the steps, and the rows at the end."""
    rows = [list(row) for row in rows]
    count = len(rows)
    steps: list[Step] = []
    place = 0
    for column in range(len(rows[0]) - 1):
        pivot = next((i for i in range(place, count) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        if pivot != place:
            rows[place], rows[pivot] = rows[pivot], rows[place]
            steps.append(Step(place, f"Swap equations {place + 1} and {pivot + 1}", [list(row) for row in rows]))
        for i in range(count):
            factor = rows[i][column] / rows[place][column] if i != place else Fraction(0)
            if factor == 0:
                continue
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[place], strict=True)]
            sign, size = ("minus", factor) if factor > 0 else ("plus", -factor)
            times = "" if size == 1 else f"{size} times "
            said = f"Equation {i + 1} {sign} {times}equation {place + 1}: {NAMES[column]} is gone"
            steps.append(Step(i, said, [list(row) for row in rows]))
        place += 1
        if place == count:
            break
    for i, row in enumerate(rows):
        lead = next((each for each in row[:-1] if each != 0), None)
        if lead is not None and lead != 1:
            rows[i] = [each / lead for each in row]
            steps.append(Step(i, f"Divide equation {i + 1} by {lead}".replace("-", "−"), [list(each) for each in rows]))
    return steps, rows


def solution(rows: list[Row]) -> list[Fraction] | str:
    """The one solution, or ``none`` or ``many``."""
    if any(all(each == 0 for each in row[:-1]) and row[-1] != 0 for row in rows):
        return "none"
    count = len(rows[0]) - 1
    found = [row for row in rows if any(each != 0 for each in row[:-1])]
    return "many" if len(found) < count else [row[-1] for row in found]


def latex(row: Row) -> str:
    """The equation of a row."""
    written = ""
    for factor, name in zip(row, NAMES, strict=False):
        if factor == 0:
            continue
        size = abs(factor)
        sign = "-" if factor < 0 else "+" if written else ""
        written += f" {sign} {'' if size == 1 else kit.tex_num(size)}{name}"
    return f"{written.strip() or '0'} = {kit.tex_num(row[-1])}"
