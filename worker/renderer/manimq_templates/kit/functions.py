"""Roots, extrema, asymptotes and a good range of y, by looking closely."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from scipy.integrate import quad

from .formula import Formula

_SAMPLES = 1201


def good_y_range(functions: Sequence[Formula], x0: float, x1: float) -> tuple[float, float]:
    """What shows the functions best: all of their values where that is tame, else the middle of them."""
    x = np.linspace(x0, x1, _SAMPLES)
    values = np.concatenate([f(x) for f in functions])
    values = values[np.isfinite(values)]
    if not len(values):
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = np.percentile(values, [4, 96])
    inner = float(inner_high - inner_low)
    if high - low > 4 * max(inner, 1e-9) and inner > 0:
        low, high = float(inner_low) - 0.6 * inner, float(inner_high) + 0.6 * inner
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 1, high + 1
    # The axis belongs in the picture if it is near.
    if 0 < low < 0.6 * (high - low):
        low = 0.0
    if 0 < -high < 0.6 * (high - low):
        high = 0.0
    margin = 0.1 * (high - low)
    return (low - margin if low else -0.6 * margin), (high + margin if high else 0.6 * margin)


def roots(f: Callable, x0: float, x1: float) -> list[float]:
    """Where the function is zero: changes of sign that are no jumps, and touches."""
    x = np.linspace(x0, x1, _SAMPLES)
    y = np.asarray(f(x), dtype=float)
    if not np.isfinite(y).any():
        return []
    scale = float(np.nanpercentile(np.abs(y), 75)) or 1.0
    found = [float(a) for a, v in zip(x, y, strict=True) if v == 0]
    for i in range(len(x) - 1):
        if np.isfinite(y[i]) and np.isfinite(y[i + 1]) and y[i] * y[i + 1] < 0:
            a, b, ya = float(x[i]), float(x[i + 1]), float(y[i])
            for _ in range(60):
                m = (a + b) / 2
                ym = float(f(m))
                if ya * ym <= 0:
                    b = m
                else:
                    a, ya = m, ym
            if abs(float(f((a + b) / 2))) < 1e-6 * max(scale, 1e-9) + 1e-9:
                found.append((a + b) / 2)
    found += [x_ for x_, y_ in extrema(f, x0, x1) if abs(y_) < 1e-9 * max(scale, 1.0)]
    if len(found) > 200:
        return []  # zero on a whole stretch
    return _distinct(found, x1 - x0)


def extrema(f: Callable, x0: float, x1: float) -> list[tuple[float, float]]:
    """Points that are higher or lower than all around them, ends not counted."""
    x = np.linspace(x0, x1, _SAMPLES)
    y = np.asarray(f(x), dtype=float)
    spread = float(np.nanmax(y) - np.nanmin(y)) if np.isfinite(y).any() else 0.0
    found = []
    for i in range(1, len(x) - 1):
        a, b, c = y[i - 1], y[i], y[i + 1]
        if not np.isfinite([a, b, c]).all() or not ((b > a and b >= c) or (b < a and b <= c)):
            continue
        sign = 1.0 if b > a else -1.0
        low, high = float(x[i - 1]), float(x[i + 1])
        for _ in range(70):
            m1, m2 = low + 0.382 * (high - low), low + 0.618 * (high - low)
            if sign * float(f(m1)) < sign * float(f(m2)):
                low = m1
            else:
                high = m2
        at = (low + high) / 2
        value = float(f(at))
        # At a pole or a jump the neighbours are far away however close one looks.
        h = 1e-7 * (x1 - x0)
        if math.isfinite(value) and abs(float(f(at + h)) - float(f(at - h))) < 1e-3 * max(spread, 1e-12) and abs(value - b) <= 0.2 * spread:
            nice = round(at, 6)
            found.append((nice if abs(nice - at) < 2e-7 * max(1.0, x1 - x0) else at, 0.0 if abs(value) < 1e-12 else value))
    return [(a, next(v for u, v in found if u == a)) for a in _distinct([u for u, _ in found], x1 - x0)]


def asymptotes(f: Callable, x_range: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Vertical ones in the range, and level ones far out."""
    x0, x1 = x_range
    x = np.linspace(x0, x1, _SAMPLES)
    y = np.asarray(f(x), dtype=float)
    vertical = []
    for i in range(len(x) - 1):
        a, b = float(x[i]), float(x[i + 1])
        ends = [float(y[i]), float(y[i + 1])]
        steep = all(map(math.isfinite, ends)) and ends[0] * ends[1] < 0
        if not steep and all(map(math.isfinite, ends)):
            continue
        for _ in range(50):
            m = (a + b) / 2
            ya, ym, yb = float(f(a)), float(f(m)), float(f(b))
            left = not math.isfinite(ya) or not math.isfinite(ym) or ya * ym < 0
            a, b = (a, m) if left and (math.isfinite(ya) or not math.isfinite(ym)) else (m, b)
            if math.isfinite(ya) and math.isfinite(yb) and ya * yb > 0:
                break
        sides = [float(f(a - 1e-6 * (x1 - x0))), float(f(b + 1e-6 * (x1 - x0)))]
        far = 1e3 * (1 + float(np.nanmedian(np.abs(y))) if np.isfinite(y).any() else 1)
        if any(math.isfinite(s) and abs(s) > far for s in sides):
            vertical.append((a + b) / 2)
    level = []
    for way in (-1, 1):
        far_values = [float(f(way * 10.0**k)) for k in (4, 5, 6)]
        if all(map(math.isfinite, far_values)) and abs(far_values[2] - far_values[1]) < 1e-3 and abs(far_values[1] - far_values[0]) < 1e-2:
            level.append(round(far_values[2], 4) + 0.0)
    return _distinct(vertical, x1 - x0), sorted(set(level))


def _distinct(found: list[float], span: float) -> list[float]:
    kept: list[float] = []
    for each in sorted(found):
        if not kept or each - kept[-1] > 2e-3 * span:
            kept.append(0.0 if abs(each) < 1e-9 * span else each)
    return kept


def integral(f: Callable, a: float, b: float) -> float:
    """The definite integral; NaN where the function is not defined all the way, has no finite area, or changes too fast to tell."""
    x = np.linspace(a, b, 4001)
    y = np.asarray(f(x), dtype=float)
    inner = y[1:-1]
    if a == b or not np.isfinite(inner).all():
        return 0.0 if a == b else math.nan
    low, high = min(a, b), max(a, b)
    if any(low + 1e-3 * (high - low) < pole < high - 1e-3 * (high - low) for pole in asymptotes(f, (low, high))[0]):
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the routine's way to say that it does not converge
        try:
            return float(quad(lambda t: float(f(t)), a, b, limit=200)[0])
        except Exception:  # noqa: BLE001 - whatever it says, there is no number to show
            y = np.where(np.isfinite(y), y, 0.0)
            # Whole waves between two samples would give whatever chance gives.
            between = np.nan_to_num(np.asarray(f((x[1:] + x[:-1]) / 2), dtype=float), posinf=0.0, neginf=0.0)
            steady = np.abs(between - (y[1:] + y[:-1]) / 2).mean() <= 0.05 * np.abs(y).mean()
            bounded = np.abs(y).max() < 1e6 * (1 + np.median(np.abs(y)))
            return float(np.trapezoid(y, x)) if steady and bounded else math.nan


def nice_fraction(number: float) -> Fraction | None:
    """The small fraction that a number is, if it is one."""
    if not math.isfinite(number) or abs(number) > 1e6:
        return None
    guess = Fraction(number).limit_denominator(120)
    return guess if abs(float(guess) - number) < 1e-9 * max(1.0, abs(number)) else None
