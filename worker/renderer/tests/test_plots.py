"""What templates draw as a graph is the function: its points are read back from the scene and compared with ``math``."""

import math
import sys
import tempfile
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from manim import Rectangle, Scene, VGroup, tempconfig
from manim.renderer.cairo_renderer import CairoRenderer

sys.path.insert(0, str(Path(__file__).resolve().parent))

import manimq_templates as catalogue  # noqa: E402
from manimq_templates import kit  # noqa: E402
from manimq_templates.kit.scene import texts as kit_text  # noqa: E402
from resolve import _schema, resolve  # noqa: E402

Function = Callable[[float], float]
PIXEL = 8 / 1080
"""In the frame's units, at 1080 lines."""
WITHIN = 1.0
"""Pixels between what is drawn and the graph."""


def real_power(x: float, p: int, q: int) -> float:
    """The real root of odd degree, for negative numbers too."""
    return math.copysign(abs(x) ** (p / q), x if p % 2 else 1)


# What a user writes, the same in Python, and the range of x.
CASES: tuple[tuple[str, Function, tuple[float, float]], ...] = (
    ("x", lambda x: x, (-5, 5)),
    ("x^2 - 3", lambda x: x * x - 3, (-5, 5)),
    ("x^3/9 - x", lambda x: x**3 / 9 - x, (-5, 5)),
    ("x^7 - 4x^3", lambda x: x**7 - 4 * x**3, (-3, 3)),
    ("1/x", lambda x: 1 / x, (-5, 5)),
    ("1/x^2", lambda x: 1 / x**2, (-3, 3)),
    ("0.0001/x^2", lambda x: 1e-4 / x**2, (-2, 2.1)),
    ("x/(x^2 - 1)", lambda x: x / (x * x - 1), (-4, 4)),
    ("1/(x - 0.3)^3 + x", lambda x: 1 / (x - 0.3) ** 3 + x, (-3, 3)),
    ("(x^2 - 1)/(x - 1)", lambda x: (x * x - 1) / (x - 1), (-3, 3)),
    ("tan(x)", math.tan, (-5, 5)),
    ("1/sin(3x)", lambda x: 1 / math.sin(3 * x), (-4, 4)),
    ("sin(3x)", lambda x: math.sin(3 * x), (-4.5, 4.5)),
    ("sin(40x)", lambda x: math.sin(40 * x), (-3, 3)),
    ("sin(x)/x", lambda x: math.sin(x) / x, (-10, 10)),
    ("sqrt(x)", math.sqrt, (-2, 5)),
    ("sqrt(4 - x^2)", lambda x: math.sqrt(4 - x * x), (-3, 3)),
    ("sqrt(sin(3x))", lambda x: math.sqrt(math.sin(3 * x)), (-4, 4)),
    ("cbrt(x)", lambda x: real_power(x, 1, 3), (-3, 3)),
    ("x^(2/3)", lambda x: real_power(x, 2, 3), (-3, 3)),
    ("ln(x)", math.log, (-2, 6)),
    ("log2(x + 3)", lambda x: math.log2(x + 3), (-5, 5)),
    ("x*ln(x)", lambda x: x * math.log(x), (-1, 3)),
    ("exp(-x^2)", lambda x: math.exp(-x * x), (-4, 4)),
    ("exp(5x)", lambda x: math.exp(5 * x), (-2, 2)),
    ("1/(1 + exp(-50x))", lambda x: 1 / (1 + math.exp(-50 * x)), (-2, 2)),
    ("atan(200x)", lambda x: math.atan(200 * x), (-3, 3)),
    ("asin(x)", math.asin, (-2, 2)),
    ("acos(x/2)", lambda x: math.acos(x / 2), (-3, 3)),
    ("abs(x - 1)", lambda x: abs(x - 1), (-2, 4)),
    ("floor(x)", math.floor, (-3.3, 3.3)),
    ("floor(6x)/6", lambda x: math.floor(6 * x) / 6, (-3, 3)),
    ("x - floor(x)", lambda x: x - math.floor(x), (-3, 3)),
    ("sign(x)", lambda x: math.copysign(1, x) if x else 0, (-2, 2)),
    ("abs(x)/x", lambda x: abs(x) / x, (-2, 2)),
    ("max(sin(x), x/4)", lambda x: max(math.sin(x), x / 4), (-6, 6)),
    ("x^x", lambda x: x**x if x > 0 else math.nan, (-1, 3)),
    ("exp(1/x)", lambda x: math.exp(1 / x), (-3, 3)),
    ("tanh(x)*cosh(x/2)", lambda x: math.tanh(x) * math.cosh(x / 2), (-5, 5)),
    ("2", lambda x: 2.0, (-5, 5)),
)  # fmt: skip


@dataclass
class Drawn:
    """A graph as it stands in the scene."""

    plot: kit.Plot
    lines: list[np.ndarray]
    """Corners of each piece, in the frame's units."""


def corners(piece: Any) -> np.ndarray:
    """Of a polyline."""
    return np.concatenate([piece.get_start_anchors(), piece.get_end_anchors()[-1:]])


def on(function: Function, x: float) -> float:
    """The function's value; NaN where it has none."""
    try:
        value = function(x)
    except (ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return float(value) if isinstance(value, int | float) and abs(value) < 1e14 else math.nan


class Graph:
    """A function in the frame of a plot, ten points a pixel."""

    def __init__(self, plot: kit.Plot, function: Function, x: tuple[float, float]) -> None:
        self.function, (low, high) = function, x
        across, self.up = plot.unit()
        left, self.bottom = plot.c2p(plot.x_range[0], plot.y_range[0])[:2]
        self.y_low, self.y_high = plot.y_range
        grid = np.arange(low - 2 * PIXEL / across, high + 2 * PIXEL / across, 0.1 * PIXEL / across)
        there = np.array([low <= x <= high and not math.isnan(on(function, x)) for x in grid.tolist()])
        # Where it begins and ends it may be steep: these points themselves.
        ends = [self._end(*grid[k : k + 2].tolist()) if there[k] else self._end(*grid[k : k + 2][::-1].tolist()) for k in np.flatnonzero(np.diff(there))]
        self.x = np.unique(np.concatenate([grid, [low, high], [end for end in ends if low <= end <= high]]))
        self.y = np.array([on(function, x) if low <= x <= high else math.nan for x in self.x.tolist()])
        self.width, self.height = left + (self.x - plot.x_range[0]) * across, self.bottom + (self.y - self.y_low) * self.up
        there = np.isfinite(self.y)
        gap = np.abs(np.diff(np.where(there, self.height, 0.0)))
        # Steep, a graph goes through all heights between two points; at a jump it does not.
        self.joined = there[:-1] & there[1:]
        seen = (np.fmin(self.y[:-1], self.y[1:]) <= self.y_high) & (np.fmax(self.y[:-1], self.y[1:]) >= self.y_low)
        for k in np.flatnonzero(self.joined & seen & (gap > PIXEL)):
            self.joined[k] = self._steep(float(self.x[k]), float(self.x[k + 1]))

    def _end(self, there: float, gone: float) -> float:
        for _ in range(60):
            middle = (there + gone) / 2
            there, gone = (there, middle) if math.isnan(on(self.function, middle)) else (middle, gone)
        return there

    def _steep(self, a: float, b: float) -> bool:
        def at(x: float) -> float:
            # Far outside of the picture one place is as good as another: ln x falls for ever.
            return float(np.clip(on(self.function, x), 2 * self.y_low - self.y_high, 2 * self.y_high - self.y_low))

        ya, yb = at(a), at(b)
        for _ in range(60):
            if abs(yb - ya) * self.up < 0.5 * PIXEL:
                return True
            middle = (a + b) / 2
            y = at(middle)
            if math.isnan(y):
                return False
            if abs(y - ya) >= abs(yb - y):
                b, yb = middle, y
            else:
                a, ya = middle, y
        return False

    def visible(self) -> np.ndarray:
        """Which of the points can be seen."""
        with np.errstate(invalid="ignore"):
            return (self.y > self.y_low) & (self.y < self.y_high)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """From points of the frame to the graph."""
        i = np.searchsorted(self.width, points[:, 0])[:, None] + np.arange(-13, 13)[None, :]
        i = np.clip(i, 0, len(self.width) - 2)
        px, py = points[:, :1], points[:, 1:2]
        alone = np.hypot(self.width[i] - px, self.height[i] - py)
        low, high = np.fmin(self.height[i], self.height[i + 1]), np.fmax(self.height[i], self.height[i + 1])
        beside = np.hypot(self.width[i] - px, np.maximum(np.maximum(low - py, py - high), 0.0))
        best = np.fmin(np.where(np.isnan(alone), math.inf, alone), np.where(self.joined[i], beside, math.inf))
        return best.min(axis=1)


def far_off(drawn: Drawn, function: Function, x: tuple[float, float]) -> list[str]:
    """Where a drawn line is not the graph, and where the graph is not drawn."""
    plot, graph = drawn.plot, Graph(drawn.plot, function, x)
    points = np.concatenate([_along(line) for line in drawn.lines])
    distance = np.concatenate([graph.distance(part) for part in np.array_split(points, 1 + len(points) // 20_000)])
    across, up = plot.unit()
    left, bottom = plot.c2p(plot.x_range[0], plot.y_range[0])[:2]
    found = []
    for k in np.flatnonzero(distance > WITHIN * PIXEL):
        at = plot.x_range[0] + (points[k, 0] - left) / across, plot.y_range[0] + (points[k, 1] - bottom) / up
        found.append(f"drawn at ({at[0]:.5f}, {at[1]:.5f}), {distance[k] / PIXEL:.1f} pixels from the graph")
    order = np.argsort(points[:, 0])
    points = points[order]
    inside = graph.visible() & (graph.x >= plot.x_range[0]) & (graph.x <= plot.x_range[1])
    # Every fifth is enough: half a pixel.
    for k in np.flatnonzero(inside)[::5]:
        near = points[slice(*np.searchsorted(points[:, 0], [graph.width[k] - 2 * PIXEL, graph.width[k] + 2 * PIXEL]))]
        if not len(near) or np.hypot(near[:, 0] - graph.width[k], near[:, 1] - graph.height[k]).min() > 2 * PIXEL:
            found.append(f"({graph.x[k]:.5f}, {graph.y[k]:.5f}) is not drawn")
    return found


def _along(line: np.ndarray) -> np.ndarray:
    """Points on a polyline, two a pixel."""
    steps = np.diff(line[:, :2], axis=0)
    counts = np.maximum(1, np.ceil(np.hypot(steps[:, 0], steps[:, 1]) / (0.5 * PIXEL)).astype(int))
    parts = [start + np.linspace(0, 1, n, endpoint=False)[:, None] * step for start, step, n in zip(line[:-1, :2], steps, counts, strict=True)]
    return np.concatenate([*parts, line[-1:, :2]])


class Plots(unittest.TestCase):
    """Each template's story is played without pictures; words and formulas are boxes, as nobody reads them."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="plots-")
        self.addCleanup(folder.cleanup)
        settings = {"media_dir": folder.name, "verbosity": "ERROR", "progress_bar": "none", "pixel_width": 1920, "pixel_height": 1080}
        with_config = tempconfig(settings)
        with_config.__enter__()
        self.addCleanup(with_config.__exit__, None, None, None)

    def graphs(self, template: str, params: dict[str, Any], redrawn: bool = False) -> dict[str, Drawn]:
        """The graphs that were in the scene when a play ended, by their colour; the last of each.

        ``redrawn``: what is drawn anew for each picture is a copy of what was made for it, so that counts.
        """
        found: dict[str, Drawn] = {}
        made: dict[int, tuple[Any, kit.Plot]] = {}
        curve, play = kit.Plot.curve, Scene.play

        def noted_curve(plot: kit.Plot, *arguments: Any, **more: Any) -> Any:
            pieces = curve(plot, *arguments, **more)
            made.update({id(each): (each, plot) for each in pieces})
            if redrawn and len(pieces):
                found[pieces[0].get_stroke_color().to_hex().lower()] = Drawn(plot, [corners(each) for each in pieces])
            return pieces

        def noted_play(scene: Scene, *arguments: Any, **more: Any) -> None:
            play(scene, *arguments, **more)
            shown: dict[str, Drawn] = {}
            for each in {id(part): part for mobject in scene.mobjects for part in mobject.get_family()}.values():
                if id(each) in made and each.get_stroke_opacity() > 0.9 and each.has_points():
                    colour, plot = each.get_stroke_color().to_hex().lower(), made[id(each)][1]
                    shown.setdefault(colour, Drawn(plot, [])).lines.append(corners(each))
            if not redrawn:
                found.update(shown)

        filled = resolve(_schema(template), params | {"pace": "fast"})
        kit_text.measure.cache_clear()
        self.addCleanup(kit_text.measure.cache_clear)
        with (
            mock.patch.object(kit_text, "one_line", lambda written, size, *look: (VGroup(Rectangle(width=0.01 * size, height=0.01 * size)), 0.01 * size)),
            mock.patch.object(kit.Plot, "curve", noted_curve),
            mock.patch.object(Scene, "play", noted_play),
            mock.patch.object(kit.TemplateScene, "tex", lambda self, *written, **more: Rectangle(width=1, height=0.4)),
        ):
            catalogue.load(template, filled)(renderer=CairoRenderer(skip_animations=True)).construct()
        return found

    def check(self, drawn: Drawn | None, function: Function, x: tuple[float, float], what: str) -> None:
        if drawn is None:
            middle = [on(function, float(each)) for each in np.linspace(*x, 1001)]
            self.assertFalse(np.isfinite(middle).any(), f"{what}: nothing is drawn")
            return
        wrong = far_off(drawn, function, (max(x[0], drawn.plot.x_range[0]), min(x[1], drawn.plot.x_range[1])))
        self.assertEqual(wrong[:3], [], f"{what}: {len(wrong)} places")

    def test_a_function_plot_is_the_function_without_lines_across_poles_or_outside_of_its_domain(self) -> None:
        blue = kit.Theme.of({}).blue
        for written, function, x in CASES:
            with self.subTest(written):
                self.check(self.graphs("function-plot", {"f": [written], "x_range": list(x)}).get(blue), function, x, written)

    def test_the_inverse_is_the_mirrored_graph(self) -> None:
        teal = kit.Theme.of({}).teal
        for written, function, inverse, x in (
            ("exp(x)", math.exp, math.log, (-3, 2)),
            ("x^3", lambda x: x**3, lambda x: real_power(x, 1, 3), (-2, 2)),
            ("2x + 1", lambda x: 2 * x + 1, lambda x: (x - 1) / 2, (-3, 3)),
        ):
            with self.subTest(written):
                drawn = self.graphs("function-plot", {"f": [written], "x_range": list(x), "inverse": True})[teal]
                # It is there where the function itself is in the picture.
                low, high = drawn.plot.x_range
                values = [on(function, float(each)) for each in np.linspace(low, high, 4001)]
                values = [each for each in values if low <= each <= high]
                self.check(drawn, inverse, (min(values), max(values)), written)

    def test_the_graphs_of_derivative_integral_and_sums_are_the_function(self) -> None:
        blue = kit.Theme.of({}).blue
        for template, more in (("derivative-tangent", {"a": 0.7}), ("integral-area", {"a": -1.3, "b": 2}), ("riemann-sum", {"a": -1.3, "b": 2, "n": [3]})):
            for written, function, _ in CASES[::2] + CASES[1:20:2]:
                with self.subTest(f"{template}: {written}"):
                    drawn = self.graphs(template, {"f": written, **more}).get(blue)
                    x = drawn.plot.x_range if drawn else (-1.3, 2)
                    self.check(drawn, function, x, written)

    def test_the_second_graph_of_an_area_is_the_second_function(self) -> None:
        amber = kit.Theme.of({}).amber
        for written, function, _ in CASES[3:30:3]:
            with self.subTest(written):
                drawn = self.graphs("integral-area", {"f": "x", "g": written, "a": -2, "b": 2}).get(amber)
                self.check(drawn, function, drawn.plot.x_range if drawn else (-2, 2), written)

    def test_the_graph_of_the_derivative_is_the_slope(self) -> None:
        violet = kit.Theme.of({}).violet
        for written, slope in (
            ("x^2", lambda x: 2 * x),
            ("x^3/9 - x", lambda x: x * x / 3 - 1),
            ("1/x", lambda x: -1 / x**2),
            ("sin(3x)", lambda x: 3 * math.cos(3 * x)),
            ("sqrt(x)", lambda x: 0.5 / math.sqrt(x) if x > 0 else math.nan),
            ("ln(x)", lambda x: 1 / x if x > 0 else math.nan),
            ("tan(x)", lambda x: 1 / math.cos(x) ** 2),
            ("abs(x - 1)", lambda x: math.copysign(1, x - 1) if x != 1 else math.nan),
            ("max(sin(x), x/4)", lambda x: math.cos(x) if math.sin(x) > x / 4 else 0.25),
            ("exp(-x^2)", lambda x: -2 * x * math.exp(-x * x)),
        ):
            with self.subTest(written):
                drawn = self.graphs("derivative-tangent", {"f": written, "a": 0.7, "show_derivative": True})[violet]
                self.check(drawn, slope, drawn.plot.x_range, written)

    def test_taylor_polynomials_are_those_of_the_function(self) -> None:
        theme = kit.Theme.of({})
        for written, function, centre, order, polynomial in (
            ("sin(x)", math.sin, 0, 5, lambda x: x - x**3 / 6 + x**5 / 120),
            ("exp(x)", math.exp, 1, 2, lambda x: math.e * (1 + (x - 1) + (x - 1) ** 2 / 2)),
            ("ln(x)", math.log, 1, 4, lambda x: (x - 1) - (x - 1) ** 2 / 2 + (x - 1) ** 3 / 3 - (x - 1) ** 4 / 4),
            ("1/(1 - x)", lambda x: 1 / (1 - x), 0, 6, lambda x: sum(x**k for k in range(7))),
            ("sin(x)/x", lambda x: math.sin(x) / x, 0, 4, lambda x: 1 - x**2 / 6 + x**4 / 120),
            ("sqrt(x)", math.sqrt, 4, 2, lambda x: 2 + (x - 4) / 4 - (x - 4) ** 2 / 64),
        ):
            with self.subTest(written):
                drawn = self.graphs("taylor-series", {"f": written, "centre": centre, "orders": [order]})
                x = drawn[theme.blue].plot.x_range
                self.check(drawn[theme.blue], function, x, written)
                self.check(drawn[theme.amber], polynomial, x, f"T{order} of {written}")

    def test_the_unit_circle_unwraps_to_sine_and_cosine(self) -> None:
        theme = kit.Theme.of({})
        drawn = self.graphs("unit-circle", {"angles": [330], "functions": ["sin", "cos", "tan"], "unwrap": True}, redrawn=True)
        for colour, function in ((theme.red, math.sin), (theme.blue, math.cos), (theme.green, math.tan)):
            self.check(drawn.get(colour), function, (0, math.radians(330)), function.__name__)


class Series(unittest.TestCase):
    """The coefficients against derivatives that are known."""

    def test_coefficients_are_right_and_none_are_made_up(self) -> None:
        from manimq_templates.taylor_series.series import coefficients
        from resolve import parse

        for written, centre, wanted in (
            ("sin(x)", 0, [0, 1, 0, -1 / 6, 0, 1 / 120]), ("cos(2x)", 0, [1, 0, -2, 0, 2 / 3]), ("exp(x)", 0, [1, 1, 1 / 2, 1 / 6, 1 / 24]),
            ("ln(1 + x)", 0, [0, 1, -1 / 2, 1 / 3]), ("tan(x)", 0, [0, 1, 0, 1 / 3, 0, 2 / 15]), ("1/(1 - x)", 0, [1, 1, 1, 1]),
            ("sqrt(1 + x)", 0, [1, 1 / 2, -1 / 8, 1 / 16]), ("atan(x)", 0, [0, 1, 0, -1 / 3]), ("asin(x)", 0, [0, 1, 0, 1 / 6]),
            ("sin(x)/x", 0, [1, 0, -1 / 6]), ("(1 - cos(x))/x^2", 0, [1 / 2, 0, -1 / 24]), ("x^x", 1, [1, 1, 1, 1 / 2]),
            ("abs(x)", -2, [2, -1, 0]), ("cbrt(x)", -8, [-2, 1 / 12, 1 / 288]), ("x^(2/3)", -8, [4, -1 / 3, -1 / 144]),
            ("tanh(x)", 0, [0, 1, 0, -1 / 3]), ("2^x", 0, [1, math.log(2), math.log(2) ** 2 / 2]), ("floor(x)", 0.5, [0, 0, 0]), ("3", 1, [3, 0]),
            ("acos(x)", 0, [math.pi / 2, -1, 0, -1 / 6]), ("sinh(x)", 0, [0, 1, 0, 1 / 6]), ("min(x, x^2)", 2, [2, 1, 0]), ("log(x)", 10, [1, 0.1 / math.log(10)]),
        ):  # fmt: skip
            found = coefficients(parse(written), centre, len(wanted) - 1)
            self.assertIsNotNone(found, written)
            np.testing.assert_allclose(found, wanted, atol=1e-10, err_msg=written)
        for written, centre in (
            ("abs(x)", 0), ("1/x", 0), ("ln(x)", 0), ("ln(x)", -1), ("sqrt(x)", 0), ("floor(x)", 1), ("asin(x)", 1), ("tan(x)", math.pi / 2), ("x^x", 0),
            ("exp(1/x)", 0), ("1/0 + x", 0), ("exp(exp(exp(x)))", 9),
        ):  # fmt: skip
            self.assertIsNone(coefficients(parse(written), centre, 4), written)


if __name__ == "__main__":
    unittest.main()
