"""A little algebra on trees: derivatives, tidying, and equations as polynomials."""

from __future__ import annotations

from fractions import Fraction

from .formula import Ast


def simplify(node: Ast) -> Ast:
    """Zeros, ones and constants tidied away; nothing cleverer."""
    if not isinstance(node, list):
        return int(node) if isinstance(node, float) and node.is_integer() and abs(node) < 1e15 else node
    op, *raw = node
    a = [simplify(each) for each in raw]
    number = [each for each in a if isinstance(each, int | float)]
    if op == "+":
        flat = [part for each in a for part in (each[1:] if isinstance(each, list) and each[0] == "+" else [each])]
        constant = sum(each for each in flat if isinstance(each, int | float))
        rest = [each for each in flat if not isinstance(each, int | float)]
        parts = rest + ([constant] if constant or not rest else [])
        return parts[0] if len(parts) == 1 else ["+", *parts]
    if op == "*":
        flat = [part for each in a for part in (each[1:] if isinstance(each, list) and each[0] == "*" else [each])]
        sign, parts, constant = 1, [], 1
        for each in flat:
            if isinstance(each, list) and each[0] == "neg":
                sign, each = -sign, each[1]
            if isinstance(each, int | float):
                constant *= each
            else:
                parts.append(each)
        constant *= sign
        if constant == 0:
            return 0
        if not parts:
            return constant
        if constant == -1:
            return ["neg", parts[0] if len(parts) == 1 else ["*", *parts]]
        parts = ([constant] if constant != 1 else []) + parts
        return parts[0] if len(parts) == 1 else ["*", *parts]
    if op == "neg":
        if number:
            return -a[0]
        return a[0][1] if isinstance(a[0], list) and a[0][0] == "neg" else ["neg", a[0]]
    if op == "-":
        if len(number) == 2:
            return a[0] - a[1]
        if a[1] == 0:
            return a[0]
        return simplify(["neg", a[1]]) if a[0] == 0 else ["-", *a]
    if op == "/":
        if a[0] == 0:
            return 0
        return a[0] if a[1] == 1 else ["/", *a]
    if op == "^":
        if a[1] == 0:
            return 1
        if len(number) == 2 and all(isinstance(each, int) for each in a) and 0 <= a[1] <= 8 and abs(a[0]) < 100:
            return a[0] ** a[1]
        return a[0] if a[1] == 1 else ["^", *a]
    return [op, *a]


def derivative(node: Ast, x: str = "x") -> Ast | None:
    """The tidied derivative, or None where a rule is missing (``abs``, ``floor``, ``min`` …)."""
    try:
        return simplify(_d(node, x))
    except NotImplementedError:
        return None


def _has(node: Ast, x: str) -> bool:
    return node == x if not isinstance(node, list) else any(_has(each, x) for each in node[1:])


def _d(node: Ast, x: str) -> Ast:
    if not _has(node, x):
        return 0
    if node == x:
        return 1
    op, *a = node
    u = a[0]
    if op in ("+", "-", "neg"):
        return [op, *(_d(each, x) for each in a)]
    if op == "*":
        if len(a) == 1:
            return _d(u, x)
        rest: Ast = a[1] if len(a) == 2 else ["*", *a[1:]]
        return ["+", ["*", _d(u, x), rest], ["*", u, _d(rest, x)]]
    if op == "/":
        if not _has(a[1], x):
            return ["/", _d(u, x), a[1]]
        return ["/", ["-", ["*", _d(u, x), a[1]], ["*", u, _d(a[1], x)]], ["^", a[1], 2]]
    if op == "^":
        if not _has(a[1], x):
            n = a[1]
            lower = n - 1 if isinstance(n, int | float) else ["-", n, 1]
            if isinstance(n, list) and n[0] == "/" and all(isinstance(k, int) for k in n[1:]):
                lower = ["/", n[1] - n[2], n[2]]
            return ["*", n, ["^", u, lower], _d(u, x)]
        if u == "e":
            return ["*", node, _d(a[1], x)]
        return ["*", node, _d(["*", a[1], ["ln", u]], x)]
    rules: dict[str, Ast] = {
        "sin": ["cos", u], "cos": ["neg", ["sin", u]], "tan": ["/", 1, ["^", ["cos", u], 2]],
        "cot": ["neg", ["/", 1, ["^", ["sin", u], 2]]], "sec": ["*", ["sec", u], ["tan", u]],
        "csc": ["neg", ["*", ["csc", u], ["cot", u]]], "asin": ["/", 1, ["sqrt", ["-", 1, ["^", u, 2]]]],
        "acos": ["neg", ["/", 1, ["sqrt", ["-", 1, ["^", u, 2]]]]], "atan": ["/", 1, ["+", 1, ["^", u, 2]]],
        "sinh": ["cosh", u], "cosh": ["sinh", u], "tanh": ["/", 1, ["^", ["cosh", u], 2]], "exp": node,
        "ln": ["/", 1, u], "log": ["/", 1, ["*", u, ["ln", 10]]], "log2": ["/", 1, ["*", u, ["ln", 2]]],
        "sqrt": ["/", 1, ["*", 2, ["sqrt", u]]],
    }  # fmt: skip
    if op not in rules:
        raise NotImplementedError(op)
    inner, rule = simplify(_d(u, x)), rules[op]
    if rule[0] == "/" and inner != 1:
        return ["/", ["*", inner, rule[1]], rule[2]]
    # The factor in front, as people write it: 2 cos(2x), and not cos(2x) 2.
    return ["*", inner, rule]


_DEGREE_MAX = 8
_BITS_MAX = 512


def polynomial(node: Ast, x: str = "x") -> list[Fraction] | None:
    """Coefficients, lowest first, where the tree is a polynomial with rational numbers; else None."""
    try:
        result = _poly(node, x)
    except (ArithmeticError, ValueError, TypeError):
        return None
    while len(result) > 1 and result[-1] == 0:
        result.pop()
    return result


def _poly(node: Ast, x: str) -> list[Fraction]:
    if isinstance(node, int | float):
        return [Fraction(str(node))]
    if node == x:
        return [Fraction(0), Fraction(1)]
    if isinstance(node, str):
        raise ValueError(node)
    op, *rest = node
    a = [_poly(each, x) for each in rest]
    if op == "neg":
        return [-each for each in a[0]]
    if op in ("+", "-"):
        total = a[0]
        for each in a[1:]:
            total = _added(total, each if op == "+" else [-c for c in each])
        return total
    if op == "*":
        total = a[0]
        for each in a[1:]:
            total = _times(total, each)
        return total
    if op == "/" and len(a[1]) == 1:
        return [each / a[1][0] for each in a[0]]
    if op == "^" and len(a[1]) == 1 and a[1][0].denominator == 1 and 0 <= a[1][0] <= _DEGREE_MAX:
        total = [Fraction(1)]
        for _ in range(int(a[1][0])):
            total = _times(total, a[0])
        return total
    raise ValueError(op)


def _added(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    zero = Fraction(0)
    return [
        (a[i] if i < len(a) else zero) + (b[i] if i < len(b) else zero) for i in range(max(len(a), len(b)))
    ]


def _times(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    if len(a) + len(b) - 2 > _DEGREE_MAX:
        raise ValueError("degree")
    if any(each.numerator.bit_length() + each.denominator.bit_length() > _BITS_MAX for each in (*a, *b)):
        raise ValueError("size")
    result = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            result[i + j] += p * q
    return result
