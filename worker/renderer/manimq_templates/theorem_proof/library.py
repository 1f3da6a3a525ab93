"""Theorems that are proved here: what is claimed, and each step with its formula."""

from __future__ import annotations

from typing import NamedTuple


class Theorem(NamedTuple):
    """A title, the claim, and the steps as (sentence, LaTeX or nothing)."""

    title: str
    statement: str
    steps: tuple[tuple[str, str], ...]


LIBRARY = {
    "sqrt2-irrational": Theorem(
        "√2 is irrational",
        "No fraction of whole numbers has the square 2.",
        (
            ("Suppose there is one, in lowest terms", r"\sqrt{2} = \frac{p}{q}"),
            ("Square both sides: p² is even, so p is even", r"p^2 = 2q^2"),
            ("Write p as twice a number, and put it in", r"p = 2k \;\Rightarrow\; 4k^2 = 2q^2"),
            ("Now q² is even, so q is even as well", r"q^2 = 2k^2"),
            ("Both are even: it was not in lowest terms. So there is none", ""),
        ),
    ),
    "infinitely-many-primes": Theorem(
        "There are infinitely many primes",
        "However many primes one lists, there is another one.",
        (
            ("Take any list of primes", r"p_1,\; p_2,\; \ldots,\; p_n"),
            ("Multiply them all, and add one", r"N = p_1 \cdot p_2 \cdots p_n + 1"),
            ("None of them divides N: each leaves the remainder 1", r"N \equiv 1 \pmod{p_k}"),
            ("But N has some prime factor, as every number above 1", r"p \mid N"),
            ("That prime is not in the list: no list is complete", ""),
        ),
    ),
    "sum-of-first-n": Theorem(
        "The sum of the first n numbers",
        "1 + 2 + … + n is half of n times n + 1.",
        (
            ("Write the sum forwards", r"S = 1 + 2 + \cdots + n"),
            ("and backwards", r"S = n + (n-1) + \cdots + 1"),
            ("Add column by column: each gives n + 1", r"2S = (n+1) + (n+1) + \cdots + (n+1)"),
            ("There are n columns", r"2S = n\,(n+1)"),
            ("Halve it", r"S = \frac{n(n+1)}{2}"),
        ),
    ),
    "geometric-series": Theorem(
        "The geometric series",
        "For |q| < 1, the powers of q add up to 1 / (1 − q).",
        (
            ("Add the first n powers", r"S_n = 1 + q + q^2 + \cdots + q^{n-1}"),
            ("Multiply by q: all terms move on by one", r"q\,S_n = q + q^2 + \cdots + q^{n}"),
            ("Subtract: nearly everything cancels", r"S_n - q\,S_n = 1 - q^n"),
            ("Divide by 1 − q", r"S_n = \frac{1 - q^n}{1 - q}"),
            ("For |q| < 1 the power of q vanishes", r"S_n \to \frac{1}{1 - q}"),
        ),
    ),
    "am-gm": Theorem(
        "The mean inequality",
        "The geometric mean of two positive numbers is at most their arithmetic mean.",
        (
            ("A square is never negative", r"\left(\sqrt{a} - \sqrt{b}\right)^2 \ge 0"),
            ("Multiply it out", r"a - 2\sqrt{ab} + b \ge 0"),
            ("Move the middle term", r"a + b \ge 2\sqrt{ab}"),
            ("Halve it. Equal only where a = b", r"\frac{a+b}{2} \ge \sqrt{ab}"),
        ),
    ),
    "triangle-angle-sum": Theorem(
        "The angles of a triangle",
        "They add up to 180°.",
        (
            ("Draw the parallel to the base through the top corner", r"g \parallel AB"),
            ("Beside the angle γ at the top two more appear", r"\alpha',\; \gamma,\; \beta'"),
            ("Alternate angles at parallels are equal", r"\alpha' = \alpha,\quad \beta' = \beta"),
            ("At the top, the three make a straight angle", r"\alpha' + \gamma + \beta' = 180^\circ"),
            ("So do the three of the triangle", r"\alpha + \beta + \gamma = 180^\circ"),
        ),
    ),
    "thales": Theorem(
        "Thales' theorem",
        "An angle over the diameter of a circle is a right angle.",
        (
            ("Join the point C on the circle to its centre M", r"MA = MB = MC"),
            ("Two isosceles triangles: equal angles at their bases", r"\alpha = \gamma_1,\quad \beta = \gamma_2"),
            ("The angles of the whole triangle", r"\alpha + \beta + (\gamma_1 + \gamma_2) = 180^\circ"),
            ("Put the equal ones in", r"2\,(\gamma_1 + \gamma_2) = 180^\circ"),
            ("Halve it", r"\gamma = \gamma_1 + \gamma_2 = 90^\circ"),
        ),
    ),
}
"""By the value of the parameter ``name``."""


def find(name: str) -> Theorem | None:
    """The theorem of that name, however it is spelled."""
    key = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    return LIBRARY.get(key)
