"""Solves equations in one unknown, in steps that a pupil would write."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from .. import kit


class Step(NamedTuple):
    """An equation in LaTeX, its sides apart, and why it holds."""

    left: str
    right: str
    reason: str
    sign: str = "="


def side(coefficients: list[Fraction]) -> str:
    """A polynomial in LaTeX, highest power first."""
    written = ""
    for power in range(len(coefficients) - 1, -1, -1):
        c = coefficients[power]
        if c == 0:
            continue
        name = {0: "", 1: "x"}.get(power, f"x^{{{power}}}")
        size = kit.tex_num(abs(c)) if abs(c) != 1 or power == 0 else ""
        written += ("-" if c < 0 else "") if not written else (" - " if c < 0 else " + ")
        written += f"{size}{name}"
    return written or "0"


def solution(left: Any, right: Any) -> list[Step]:
    """All steps after the equation itself; the last ones say what x is."""
    l, r = kit.polynomial(left), kit.polynomial(right)
    if l is None or r is None:
        return _numeric(left, right)
    width = max(len(l), len(r))
    l, r = ([*each, *[Fraction(0)] * (width - len(each))] for each in (l, r))
    difference = [a - b for a, b in zip(l, r, strict=True)]
    degree = max((k for k, c in enumerate(difference) if c), default=0)
    steps = []
    if [side(l), side(r)] != [kit.latex_of(left).replace(" ", ""), kit.latex_of(right)] and _untidy(left, right):
        steps.append(Step(side(l), side(r), "Tidy both sides"))
    if degree == 0:
        always = difference[0] == 0
        steps.append(Step(side(difference[:1]), "0", "Take the right side away" if not always else "Both sides are the same"))
        steps.append(Step("x", r"\text{any number}" if always else r"\text{no number}", "It is always true" if always else "It is never true"))
        return steps
    if degree == 1:
        return steps + _linear(l, r)
    if degree == 2:
        return steps + _quadratic(l, r, difference[:3])
    return steps + _numeric(left, right)


def _untidy(left: Any, right: Any) -> bool:
    """Whether a side is more than a sum of terms in falling powers."""

    def terms(node: Any) -> list[Any]:
        return [t for each in node[1:] for t in terms(each)] if isinstance(node, list) and node[0] in ("+", "-") else [node]

    def power(term: Any) -> int | None:
        p = kit.polynomial(term)
        if p is None or sum(1 for c in p if c) > 1:
            return None
        if isinstance(term, list) and term[0] in ("*", "/") and any(isinstance(x, list) and x[0] in ("+", "-") for x in term[1:]):
            return None
        return len(p) - 1

    for node in (left, right):
        powers = [power(each) for each in terms(node)]
        if None in powers or len(set(powers)) < len(powers):
            return True
    return False


def _linear(l: list[Fraction], r: list[Fraction]) -> list[Step]:
    steps = []
    a, b, c, d = l[1], l[0], r[1], r[0]
    if c:
        a, c = a - c, Fraction(0)
        steps.append(Step(side([b, a]), side([d]), f"{'Subtract' if r[1] > 0 else 'Add'} {_plain(abs(r[1]), 'x')} on both sides"))
    if b:
        d, was = d - b, b
        steps.append(Step(side([Fraction(0), a]), side([d]), f"{'Subtract' if was > 0 else 'Add'} {_plain(abs(was))} on both sides"))
    if a != 1:
        d = d / a
        reason = f"Divide both sides by {_plain(a)}" if a.denominator == 1 else f"Multiply both sides by {_plain(1 / a)}"
        if a == -1:
            reason = "Change the signs"
        steps.append(Step("x", kit.tex_num(d), reason))
    if not steps:
        steps.append(Step("x", kit.tex_num(d), "It says so already"))
    return steps


def _quadratic(l: list[Fraction], r: list[Fraction], p: list[Fraction]) -> list[Step]:
    c, b, a = p
    steps = []
    if any(r):
        steps.append(Step(side(p), "0", "Bring everything to one side"))
    scale = Fraction(math.lcm(*(each.denominator for each in p)))
    if scale != 1 or a < 0:
        scale = -scale if a < 0 else scale
        c, b, a = (each * scale for each in p)
        steps.append(Step(side([c, b, a]), "0", f"Multiply by {_plain(scale)}"))
    square = b * b - 4 * a * c
    if square < 0:
        steps.append(Step("b^2 - 4ac", kit.tex_num(square), "The discriminant"))
        steps.append(Step("x", r"\text{no real number}", "A negative number has no real root"))
        return steps
    root = _exact_root(square)
    if root is not None:
        one, two = sorted(((-b - root) / (2 * a), (-b + root) / (2 * a)))
        front = "" if a == 1 else kit.tex_num(a)
        if one == two:
            steps.append(Step(rf"{front}{_factor(one)}^2", "0", "It is a square"))
            steps.append(Step("x", kit.tex_num(one), "The only solution"))
        else:
            steps.append(Step(rf"{front}{_factor(one)}{_factor(two)}", "0", "Factor: which numbers make it zero?"))
            steps.append(Step("x", rf"{kit.tex_num(one)} \quad\text{{or}}\quad x = {kit.tex_num(two)}", "One factor must be zero"))
        return steps
    steps.append(Step("x", rf"\frac{{{kit.tex_num(-b)} \pm \sqrt{{{kit.tex_num(square)}}}}}{{{kit.tex_num(2 * a)}}}", "The quadratic formula"))
    one, two = ((-float(b) + s * math.sqrt(square)) / (2 * float(a)) for s in (-1, 1))
    steps.append(Step("x", rf"{kit.tex_num(one)} \quad\text{{or}}\quad x \approx {kit.tex_num(two)}", "In decimals", r"\approx"))
    return steps


def _factor(root: Fraction) -> str:
    if root == 0:
        return "x"
    return rf"\left(x {'-' if root > 0 else '+'} {kit.tex_num(abs(root))}\right)"


def _exact_root(number: Fraction) -> Fraction | None:
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    return Fraction(top, bottom) if (top * top, bottom * bottom) == (number.numerator, number.denominator) else None


def _numeric(left: Any, right: Any) -> list[Step]:
    f = kit.Formula.of_ast(["-", left, right])
    found = [x for x in kit.roots(f, -50.0, 50.0) if math.isfinite(x)]
    steps = [Step(r"f(x)", rf"{kit.latex_of(left)} - \left({kit.latex_of(right)}\right) = 0", "Ask where the difference is zero")]
    if not found:
        return [*steps, Step("x", r"\text{not found}", "No solution between −50 and 50")]
    written = r",\; ".join(kit.tex_num(float(np.round(x, 6)), 5) for x in found[:4]) + (r",\; \ldots" if len(found) > 4 else "")
    return [*steps, Step("x", written, "Found by halving intervals", r"\approx")]


def _plain(number: Fraction, name: str = "") -> str:
    """A coefficient in plain text, for reasons."""
    written = str(number).replace("-", "−")
    return name if name and number == 1 else written + name
