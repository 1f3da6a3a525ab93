"""Formulas as data: trees that the API made of what the user typed, evaluated here and never parsed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import gamma

Ast = Any
"""A number, a name, or ``[op, argument…]``."""

DEPTH_MAX, NODES_MAX = 32, 256
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


class Formula:
    """A resolved formula. Callable on floats and arrays; outside the domain it is NaN, never an error."""

    def __init__(self, resolved: dict[str, Any], variables: tuple[str, ...] = ("x",)) -> None:
        self.text: str = resolved.get("text") or ""
        self.ast: Ast = resolved["ast"]
        self.variables = variables
        check(self.ast, variables)
        self.latex: str = resolved.get("latex") or latex_of(self.ast)

    @classmethod
    def of_ast(cls, ast: Ast, variables: tuple[str, ...] = ("x",)) -> Formula:
        """A formula that a template computed itself."""
        return cls({"ast": ast, "text": "", "latex": latex_of(ast)}, variables)

    def __call__(self, *arguments: Any) -> Any:
        shapes = np.broadcast(*arguments) if arguments else None
        scope = {
            name: np.asarray(each, dtype=float) for name, each in zip(self.variables, arguments, strict=True)
        }
        with np.errstate(all="ignore"):
            result = np.asarray(_real(self.ast, scope), dtype=float)
            result = np.where(np.isfinite(result), result, np.nan)
        if shapes is not None and shapes.shape:
            return np.broadcast_to(result, shapes.shape).copy()
        return float(result)

    def slope(self, x: float) -> float:
        """The derivative at a point, by a central difference of high order."""
        h = 1e-4 * max(1.0, 1e-3 * abs(x))  # far out, what a number still resolves; never a share of a wave
        a, b, c, d = (self(x + k * h) for k in (-2, -1, 1, 2))
        return (a - 8 * b + 8 * c - d) / (12 * h)


def check(ast: Ast, variables: tuple[str, ...]) -> None:
    """Raises ``ValueError`` for a tree that the API would not have made."""
    nodes = 0

    def walk(node: Ast, depth: int) -> None:
        nonlocal nodes
        nodes += 1
        if depth > DEPTH_MAX or nodes > NODES_MAX:
            raise ValueError(f"the formula is too large: at most {NODES_MAX} nodes, {DEPTH_MAX} deep")
        if isinstance(node, bool):
            raise ValueError("a formula holds numbers, not truth values")
        if isinstance(node, int | float):
            return
        if isinstance(node, str):
            if node not in variables and node not in _CONSTANTS and node != "i":
                raise ValueError(f"unknown name {node[:20]!r} in a formula")
            return
        if not isinstance(node, list) or not node or node[0] not in _ARITY:
            raise ValueError(f"not a formula: {str(node)[:40]!r}")
        low, high = _ARITY[node[0]]
        if not low <= len(node) - 1 <= high:
            raise ValueError(f"{node[0]} has {len(node) - 1} arguments")
        for each in node[1:]:
            walk(each, depth + 1)

    walk(ast, 1)


def value(param: Any) -> float:
    """The number that a parameter of format ``number`` (or a plain number) stands for."""
    return float(param["value"]) if isinstance(param, dict) else float(param)


def shown(param: Any, latex: bool = False) -> str:
    """How its user wrote it."""
    from .numbers import GIVEN_DIGITS, given, tex_num

    if isinstance(param, dict):
        written = param.get("latex" if latex else "text")
        if written:
            return str(written)
        param = param["value"]
    return tex_num(param, GIVEN_DIGITS) if latex else given(param)


# ------------------------------------------------------------------ real numbers

_MANY = (1, NODES_MAX)
_ARITY: dict[str, tuple[int, int]] = {
    "+": _MANY, "*": _MANY, "-": (2, 2), "/": (2, 2), "^": (2, 2), "neg": (1, 1), "root": (2, 2), "logb": (2, 2),
    "min": _MANY, "max": _MANY,
    **{
        name: (1, 1)
        for name in (
            "sin cos tan cot sec csc asin acos atan sinh cosh tanh exp ln log log2 sqrt cbrt "
            "abs floor ceil sign factorial"
        ).split()
    },
}  # fmt: skip


def _pole(y: Any) -> Any:
    # What floats make of a pole (1.6e16 for tan(pi/2)) is no value of the function.
    return np.where(np.abs(y) > 1e15, np.nan, y)


def _factorial(x: Any) -> Any:
    return np.where(x > -1, gamma(np.where(x > -1, x, 0) + 1), np.nan)


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": np.negative, "sin": np.sin, "cos": np.cos, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "tan": lambda x: _pole(np.tan(x)), "cot": lambda x: _pole(np.cos(x) / np.sin(x)),
    "sec": lambda x: _pole(1 / np.cos(x)), "csc": lambda x: _pole(1 / np.sin(x)),
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "exp": np.exp, "ln": np.log, "log": np.log10, "log2": np.log2,
    "sqrt": np.sqrt, "cbrt": np.cbrt, "abs": np.abs, "floor": np.floor, "ceil": np.ceil, "sign": np.sign,
    "factorial": _factorial,
}  # fmt: skip


def _real(node: Ast, scope: dict[str, Any]) -> Any:
    if isinstance(node, int | float):
        return float(node)
    if isinstance(node, str):
        if node in scope:
            return scope[node]
        return _CONSTANTS.get(node, math.nan)  # i is no real number
    op, *arguments = node
    if op == "^":
        return _power(arguments[0], arguments[1], scope)
    if op == "root":
        return _root(_real(arguments[0], scope), _real(arguments[1], scope))
    values = [_real(each, scope) for each in arguments]
    if op in _UNARY:
        return _UNARY[op](np.asarray(values[0], dtype=float))
    first, *rest = (np.asarray(each, dtype=float) for each in values)
    if op == "logb":
        return np.log(rest[0]) / np.log(first)
    fold = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "min": np.minimum, "max": np.maximum}[op]
    for each in rest:
        first = fold(first, each)
    return first


def _power(base: Ast, exponent: Ast, scope: dict[str, Any]) -> Any:
    b = np.asarray(_real(base, scope), dtype=float)
    # x^(1/3) of a negative number: people mean the real root.
    if isinstance(exponent, list) and exponent[0] == "/" and all(isinstance(n, int) for n in exponent[1:]):
        p, q = exponent[1:]
        if q % 2 == 1:
            size = np.power(np.abs(b), p / q)
            return np.where(b < 0, -size if p % 2 else size, size)
    return np.power(b, np.asarray(_real(exponent, scope), dtype=float))


def _root(n: Any, x: Any) -> Any:
    n, x = np.asarray(n, dtype=float), np.asarray(x, dtype=float)
    size = np.power(np.abs(x), 1 / n)
    odd = np.mod(n, 2) == 1
    return np.where(x >= 0, size, np.where(odd, -size, np.nan))


# --------------------------------------------------------------- complex numbers


def complex_value(ast: Ast, variables: dict[str, Any] | None = None) -> Any:
    """The same tree over the complex numbers, where ``i`` is one of them."""
    with np.errstate(all="ignore"):
        return _complex(ast, variables or {})


def _complex(node: Ast, scope: dict[str, Any]) -> Any:
    if isinstance(node, int | float):
        return complex(node)
    if isinstance(node, str):
        return scope[node] if node in scope else (1j if node == "i" else complex(_CONSTANTS.get(node, math.nan)))
    op, *rest = node
    values = [np.asarray(_complex(each, scope), dtype=complex) for each in rest]
    if op in ("+", "-", "*", "/"):
        fold = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[op]
        result = values[0]
        for each in values[1:]:
            result = fold(result, each)
        return result
    if op == "^":
        return np.power(values[0], values[1])
    if op == "root":
        return np.power(values[1], 1 / values[0])
    if op == "logb":
        return np.log(values[1]) / np.log(values[0])
    if op in ("floor", "ceil", "min", "max", "factorial", "cbrt"):
        return np.full_like(values[0], np.nan)
    return _UNARY[op](values[0])


# ------------------------------------------------------------------------- LaTeX

_NAMES = {"pi": r"\pi", "tau": r"\tau", "e": "e", "i": "i"}
_LOOSE, _SUM, _PRODUCT, _POWER, _ATOM = range(5)


def latex_of(ast: Ast) -> str:
    """LaTeX of a tree, for what templates compute themselves."""
    return _tex(ast, _LOOSE)


def _tex(node: Ast, around: int) -> str:
    written, strength = _tex_parts(node)
    return rf"\left({written}\right)" if strength < around else written


def _tex_parts(node: Ast) -> tuple[str, int]:
    from .numbers import tex_num

    if isinstance(node, int | float):
        return tex_num(node, 6), (_ATOM if node >= 0 else _SUM)
    if isinstance(node, str):
        return _NAMES.get(node, node), _ATOM
    op, *a = node
    if op in ("+", "-"):
        written = _tex(a[0], _SUM)
        for each in a[1:]:
            minus = op == "-"
            if isinstance(each, list) and each[0] == "neg":
                minus, each = not minus, each[1]
            elif isinstance(each, int | float) and each < 0:
                minus, each = not minus, -each
            elif isinstance(each, list) and each[0] == "*" and isinstance(each[1], int | float) and each[1] < 0:
                minus, each = not minus, ["*", -each[1], *each[2:]] if each[1] != -1 else ["*", *each[2:]]
            written += (" - " if minus else " + ") + _tex(each, _PRODUCT if minus else _SUM)
        return written, _SUM
    if op == "neg":
        return "-" + _tex(a[0], _PRODUCT), _SUM
    if op == "*":
        written = _tex(a[0], _PRODUCT if not (isinstance(a[0], int | float) and a[0] < 0) else _LOOSE)
        for left, right in zip(a, a[1:], strict=False):
            piece = _tex(right, _PRODUCT)
            dot = piece[:1].isdigit() or (isinstance(left, list) and left[0] in _UNARY and left[0] != "neg")
            written += (r" \cdot " if dot else r" \, " if isinstance(right, list) and right[0] in _UNARY else " ") + piece
        return written, _PRODUCT
    if op == "/":
        return rf"\frac{{{_tex(a[0], _LOOSE)}}}{{{_tex(a[1], _LOOSE)}}}", _PRODUCT
    if op == "^":
        if isinstance(a[0], list) and a[0][0] in ("sin", "cos", "tan", "ln") and a[1] == 2:
            return rf"\{a[0][0]}^2\left({_tex(a[0][1], _LOOSE)}\right)", _PRODUCT
        return rf"{_tex(a[0], _ATOM)}^{{{_tex(a[1], _LOOSE)}}}", _POWER
    inner = _tex(a[0], _LOOSE)
    if op == "sqrt":
        return rf"\sqrt{{{inner}}}", _ATOM
    if op == "cbrt":
        return rf"\sqrt[3]{{{inner}}}", _ATOM
    if op == "root":
        return rf"\sqrt[{inner}]{{{_tex(a[1], _LOOSE)}}}", _ATOM
    if op == "abs":
        return rf"\left|{inner}\right|", _ATOM
    if op in ("floor", "ceil"):
        return rf"\left\l{op}{{}} {inner} \right\r{op}{{}}", _ATOM
    if op == "factorial":
        return rf"{_tex(a[0], _ATOM)}!", _POWER
    if op == "exp":
        return rf"e^{{{inner}}}", _POWER
    if op == "logb":
        return rf"\log_{{{inner}}}\left({_tex(a[1], _LOOSE)}\right)", _PRODUCT
    if op == "log2":
        return rf"\log_2\left({inner}\right)", _PRODUCT
    name = {"asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan", "sign": r"\operatorname{sgn}"}.get(op, rf"\{op}")
    arguments = ", ".join(_tex(each, _LOOSE) for each in a)
    simple = len(a) == 1 and (isinstance(a[0], str) or (isinstance(a[0], int | float) and a[0] >= 0))
    return (rf"{name} {arguments}" if simple else rf"{name}\left({arguments}\right)"), _PRODUCT
