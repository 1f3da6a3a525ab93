"""Power series of formulas: truncated series are added, multiplied and so on, without writing derivatives down."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .. import kit

_SPARE = 6
"""Coefficients more than asked for: where zeros are divided by zeros (sin x / x at 0) the first ones go."""
_TINY = 1e-11


class _NoSeriesError(ValueError):
    """There is none about this point."""


def coefficients(ast: object, centre: float, order: int) -> list[float] | None:
    """Those of the powers of ``x - centre``, up to the order; None where the formula has no such series."""
    try:
        with np.errstate(all="ignore"):
            found = _series(ast, np.array([centre, 1.0] + [0.0] * (order - 1 + _SPARE)))
    except (_NoSeriesError, OverflowError, ZeroDivisionError):
        return None
    if len(found) <= order or not np.isfinite(found[: order + 1]).all():
        return None
    scale = max(1e-3, float(np.abs(found[: order + 1]).max()))
    return [0.0 if abs(each) < _TINY * scale / math.factorial(min(k, 9)) else float(each) for k, each in enumerate(found[: order + 1])]


def _has_x(node: object) -> bool:
    return node == "x" if not isinstance(node, list) else any(_has_x(each) for each in node[1:])


def _series(node: object, x: np.ndarray) -> np.ndarray:
    if not _has_x(node):
        value = kit.Formula.of_ast(node, ())()
        if not math.isfinite(value):
            raise _NoSeriesError
        return _constant(value, len(x))
    if node == "x":
        return x
    assert isinstance(node, list)
    op, *rest = node
    if op == "^":
        return _raised(rest[0], rest[1], x)
    if op == "root":
        return _power(_series(rest[1], x), 1 / _number(rest[0]), odd=_number(rest[0]) % 2 == 1)
    if op == "logb":
        return _divided(_ln(_series(rest[1], x)), _ln(_series(rest[0], x)))
    a = [_series(each, x) for each in rest]
    if op in _FOLDS:
        total = a[0]
        for each in a[1:]:
            total = _FOLDS[op](total, each)
        return total
    if op not in _FUNCTIONS:
        raise _NoSeriesError
    return _FUNCTIONS[op](a[0])


def _number(node: object) -> float:
    if _has_x(node):
        raise _NoSeriesError
    return kit.Formula.of_ast(node, ())()


def _constant(value: float, length: int) -> np.ndarray:
    made = np.zeros(length)
    made[0] = value
    return made


def _cut(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = min(len(a), len(b))
    return a[:length], b[:length]


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = _cut(a, b)
    return np.convolve(a, b)[: len(a)]


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = _cut(a, b)
    scale = max(float(np.abs(b).max()), 1e-300)
    zeros = 0
    while zeros < len(b) and abs(b[zeros]) < 1e-13 * scale:
        zeros += 1
    if zeros == len(b) or np.abs(a[:zeros]).max(initial=0.0) > 1e-13 * max(1.0, float(np.abs(a).max())):
        raise _NoSeriesError
    a, b = a[zeros:], b[zeros:]
    made = np.zeros(len(a))
    for k in range(len(a)):
        made[k] = (a[k] - made[:k] @ b[k:0:-1]) / b[0]
    return made


def _derived(a: np.ndarray) -> np.ndarray:
    return a[1:] * np.arange(1, len(a))


def _integrated(a: np.ndarray, first: float) -> np.ndarray:
    return np.concatenate([[first], a / np.arange(1, len(a) + 1)])


def _exp(a: np.ndarray) -> np.ndarray:
    made = _constant(math.exp(a[0]), len(a))
    for k in range(1, len(a)):
        made[k] = (np.arange(1, k + 1) * a[1 : k + 1]) @ made[k - 1 :: -1][:k] / k
    return made


def _ln(a: np.ndarray) -> np.ndarray:
    if a[0] <= _TINY:
        raise _NoSeriesError
    return _integrated(_divided(_derived(a), a), math.log(a[0]))


def _sin_cos(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sin, cos = _constant(math.sin(a[0]), len(a)), _constant(math.cos(a[0]), len(a))
    for k in range(1, len(a)):
        weights = np.arange(1, k + 1) * a[1 : k + 1]
        sin[k], cos[k] = weights @ cos[k - 1 :: -1][:k] / k, -(weights @ sin[k - 1 :: -1][:k]) / k
    return sin, cos


def _sinh_cosh(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    up, down = _exp(a), _exp(-a)
    return (up - down) / 2, (up + down) / 2


def _raised(base: object, exponent: object, x: np.ndarray) -> np.ndarray:
    if _has_x(exponent):
        return _exp(_times(_series(exponent, x), _ln(_series(base, x))))
    # x^(1/3) of a negative number is the real root, as everywhere here.
    odd = isinstance(exponent, list) and exponent[0] == "/" and all(isinstance(n, int) for n in exponent[1:]) and exponent[2] % 2 == 1
    return _power(_series(base, x), _number(exponent), odd, odd and isinstance(exponent, list) and exponent[1] % 2 == 0)


def _power(a: np.ndarray, p: float, odd: bool = False, even: bool = False) -> np.ndarray:
    if p == round(p) and abs(p) <= 64:
        made = _constant(1.0, len(a))
        for _ in range(int(abs(p))):
            made = _times(made, a)
        return made if p >= 0 else _divided(_constant(1.0, len(a)), made)
    if abs(a[0]) < _TINY or (a[0] < 0 and not odd) or not math.isfinite(p):
        raise _NoSeriesError
    made = _constant(abs(a[0]) ** p * (-1.0 if a[0] < 0 and not even else 1.0), len(a))
    for k in range(1, len(a)):
        j = np.arange(1, k + 1)
        made[k] = ((p * j - (k - j)) * a[1 : k + 1]) @ made[k - 1 :: -1][:k] / (k * a[0])
    return made


def _arc(a: np.ndarray, first: Callable[[float], float], root: bool) -> np.ndarray:
    square = _times(a, a)
    if root and abs(a[0]) >= 1 - _TINY:
        raise _NoSeriesError
    below = _power(_constant(1.0, len(a)) - square, 0.5) if root else _constant(1.0, len(a)) + square
    return _integrated(_divided(_derived(a), below), first(float(a[0])))


def _abs(a: np.ndarray) -> np.ndarray:
    if abs(a[0]) < _TINY:
        raise _NoSeriesError
    return a if a[0] > 0 else -a


def _step(f: Callable[[float], float], jumps: Callable[[float], bool]) -> Callable[[np.ndarray], np.ndarray]:
    def of(a: np.ndarray) -> np.ndarray:
        if jumps(float(a[0])):
            raise _NoSeriesError
        return _constant(f(float(a[0])), len(a))

    return of


def _chosen(a: np.ndarray, b: np.ndarray, smaller: bool) -> np.ndarray:
    a, b = _cut(a, b)
    if abs(a[0] - b[0]) < _TINY:
        raise _NoSeriesError
    return a if (a[0] < b[0]) == smaller else b


def _one(a: np.ndarray) -> np.ndarray:
    return _constant(1.0, len(a))


def _is_whole(x: float) -> bool:
    return abs(x - round(x)) < _TINY


_FOLDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": lambda a, b: np.add(*_cut(a, b)), "-": lambda a, b: np.subtract(*_cut(a, b)), "*": _times, "/": _divided,
    "min": lambda a, b: _chosen(a, b, True), "max": lambda a, b: _chosen(a, b, False),
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "neg": np.negative, "exp": _exp, "ln": _ln, "log": lambda a: _ln(a) / math.log(10), "log2": lambda a: _ln(a) / math.log(2),
    "sin": lambda a: _sin_cos(a)[0], "cos": lambda a: _sin_cos(a)[1], "tan": lambda a: _divided(*_sin_cos(a)),
    "cot": lambda a: _divided(*_sin_cos(a)[::-1]), "sec": lambda a: _divided(_one(a), _sin_cos(a)[1]),
    "csc": lambda a: _divided(_one(a), _sin_cos(a)[0]), "sinh": lambda a: _sinh_cosh(a)[0],
    "cosh": lambda a: _sinh_cosh(a)[1], "tanh": lambda a: _divided(*_sinh_cosh(a)),
    "asin": lambda a: _arc(a, math.asin, True), "acos": lambda a: _constant(math.pi / 2, len(a)) - _arc(a, math.asin, True)[: len(a)],
    "atan": lambda a: _arc(a, math.atan, False), "sqrt": lambda a: _power(a, 0.5), "cbrt": lambda a: _power(a, 1 / 3, True),
    "abs": _abs, "sign": _step(lambda x: math.copysign(1, x), lambda x: abs(x) < _TINY),
    "floor": _step(math.floor, _is_whole), "ceil": _step(math.ceil, _is_whole),
}  # fmt: skip
