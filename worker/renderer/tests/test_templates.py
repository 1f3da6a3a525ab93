"""The catalogue: descriptions, fixtures, formulas and text, without rendering a film."""

import json
import math
import re
import sys
import unicodedata
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from manim import ArcBetweenPoints, Scene, tempconfig

sys.path.insert(0, str(Path(__file__).resolve().parent))

import manimq_templates as catalogue  # noqa: E402
from manimq_templates import kit  # noqa: E402
from manimq_templates.equation_steps.solve import solution  # noqa: E402
from manimq_templates.flow_diagram.layers import folded, lanes, layers  # noqa: E402
from manimq_templates.flow_diagram.routes import BENDS, Rect, best, bow, crosses, hits, straight  # noqa: E402
from manimq_templates.graph_algorithm.steps import dijkstra, kruskal, prim  # noqa: E402
from manimq_templates.sorting.steps import ALGORITHMS, steps_of  # noqa: E402
from manimq_templates.theorem_proof.library import LIBRARY  # noqa: E402
from manimq_templates.tree_structure.trees import snapshots  # noqa: E402
from resolve import _schema, parse, resolve, resolved_fixture  # noqa: E402

FIXTURES = ("minimal", "default", "maximal", "hostile")
STARRED = (
    "title-card bullet-explainer shape-morph comparison equation-steps theorem-proof pythagoras function-plot "
    "derivative-tangent integral-area riemann-sum number-line unit-circle complex-plane vector-ops matrix-transform "
    "surface-3d bar-chart probability-tree sorting graph-algorithm tree-structure neural-net code-walkthrough sequence"
).split()
_TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
}  # fmt: skip
_KEYWORDS = set(
    "$schema type properties required additionalProperties title description default enum items prefixItems minItems "
    "maxItems uniqueItems minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum format pattern".split()
)


def schema_of(template: str) -> dict[str, Any]:
    """The template's parameters with those that all share."""
    common = json.loads((catalogue.FOLDER / "common.json").read_text(encoding="utf-8"))
    own = catalogue.description(template)["parameters"]
    return {**own, "properties": common["properties"] | own["properties"], "additionalProperties": False}


def faults(schema: dict[str, Any], value: Any, at: str = "") -> list[str]:
    """What of a value does not fit, for the keywords that our schemas use."""
    found = []
    types = schema.get("type")
    if types:
        types = [types] if isinstance(types, str) else types
        fits = any(isinstance(value, _TYPES[t]) and (t == "boolean" or not isinstance(value, bool)) for t in types)
        if not fits:
            return [f"{at}: {value!r:.40} is not {types}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r:.40} is not one of {schema['enum']}")
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9):
            found.append(f"{at}: {len(value)} characters")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
            found.append(f"{at}: {value}")
        if not schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf):
            found.append(f"{at}: {value}")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9):
            found.append(f"{at}: {len(value)} items")
        for i, each in enumerate(value):
            found += faults(schema.get("items", {}), each, f"{at}/{i}")
    elif isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value]
        for name, each in value.items():
            if name in properties:
                found += faults(properties[name], each, f"{at}/{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{at}: {name} is unknown")
    return found


def oddities(schema: dict[str, Any], at: str) -> list[str]:
    """What is no JSON Schema, or lacks a limit that every input of a stranger needs."""
    found = [f"{at}: keyword {name}" for name in schema if name not in _KEYWORDS and not name.startswith("x-")]
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    found += [f"{at}: type {each}" for each in types if each not in _TYPES]
    if not types:
        found.append(f"{at}: no type")
    if "string" in types and "enum" not in schema and "maxLength" not in schema:
        found.append(f"{at}: a string without maxLength")
    if "array" in types:
        if "maxItems" not in schema:
            found.append(f"{at}: an array without maxItems")
        found += oddities(schema.get("items", {}), f"{at}/items")
    if {"integer", "number"} & set(types) and not all({name, f"exclusive{name.capitalize()}"} & schema.keys() for name in ("minimum", "maximum")):
        found.append(f"{at}: a number without limits")
    for name, each in schema.get("properties", {}).items():
        found += oddities(each, f"{at}/{name}")
    return found


def slope_of(written: str, a: float) -> tuple[float, str]:
    """What the derivative's film says of a function at a point."""
    made = catalogue.load("derivative-tangent", resolved_fixture("derivative-tangent", "default"))
    scene = made.__new__(made)
    scene.f, scene.a = kit.Formula({"ast": parse(written)}), float(a)
    return scene._slope(scene.f(scene.a))


class Catalogue(unittest.TestCase):
    def test_the_starred_templates_are_there_and_load(self) -> None:
        self.assertLessEqual(set(STARRED), set(catalogue.ids()))
        catalogue.preload()
        for template in catalogue.ids():
            made = catalogue.load(template, {"title": "x"})
            self.assertTrue(issubclass(made, Scene), template)
            self.assertEqual((made.template_id, made.params), (template, {"title": "x"}))

    def test_an_unknown_template_is_refused_with_the_nearest(self) -> None:
        with self.assertRaisesRegex(catalogue.UnknownTemplate, "did you mean 'sorting'"):
            catalogue.load("sortin", {})
        for bad in ("../kit", "kit", "", "__init__", "a" * 10_000):
            with self.assertRaises(catalogue.UnknownTemplate) as caught:
                catalogue.load(bad, {})
            self.assertLess(len(str(caught.exception)), 200)

    def test_each_description_is_complete_and_its_schema_has_limits(self) -> None:
        for template in catalogue.ids():
            told = catalogue.description(template)
            self.assertEqual(told["id"], template)
            self.assertRegex(told["version"], r"^\d+\.\d+\.\d+$")
            self.assertEqual(told["changelog"][0]["version"], told["version"])
            self.assertIn(told["group"], ("maths", "computing", "general"))
            self.assertIsInstance(told["needs_tex"], bool)
            self.assertTrue(told["title"] and told["summary"].endswith("."), template)
            self.assertTrue(told["examples"], template)
            self.assertEqual(oddities(told["parameters"], template), [])
            self.assertLessEqual(set(told["parameters"].get("required", [])), set(schema_of(template)["properties"]))

    def test_examples_and_fixtures_fit_their_schema(self) -> None:
        for template in catalogue.ids():
            schema = schema_of(template)
            for example in catalogue.description(template)["examples"]:
                self.assertEqual(faults(schema, example["params"], template), [])
            fixtures = json.loads((catalogue.folder(template) / "fixtures.json").read_text(encoding="utf-8"))
            self.assertLessEqual(set(FIXTURES), set(fixtures))
            for which, params in fixtures.items():
                self.assertEqual(faults(schema, params, f"{template} {which}"), [])

    def test_defaults_fit_their_own_schema(self) -> None:
        for template in catalogue.ids():
            for name, each in schema_of(template)["properties"].items():
                if "default" in each:
                    self.assertEqual(faults(each, each["default"], f"{template}/{name}"), [])

    def test_each_template_says_how_long_it_will_be_and_pace_counts(self) -> None:
        for template in catalogue.ids():
            params = resolved_fixture(template, "default")
            made = catalogue.load(template, params)
            normal = made.declared_seconds(params | {"pace": "normal"})
            self.assertTrue(4 <= normal <= 40, f"{template}: {normal}")
            self.assertAlmostEqual(made.declared_seconds(params | {"pace": "slow"}), 1.4 * normal, delta=0.5 * normal)

    def test_previews_are_small_pictures_of_one_size(self) -> None:
        from PIL import Image

        for template in STARRED:
            file = catalogue.folder(template) / "preview.jpg"
            self.assertLessEqual(file.stat().st_size, 30_000, template)
            with Image.open(file) as picture:
                self.assertEqual((picture.format, picture.size), ("JPEG", (480, 270)), template)

    def test_no_template_reads_files_or_evaluates_text(self) -> None:
        for file in catalogue.FOLDER.glob("*/**/*.py"):
            source = file.read_text(encoding="utf-8")
            self.assertIsNone(
                re.search(r"(?<![.\w])(eval|exec|compile|open|__import__)\s*\(", source), str(file)
            )
            for found in re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE):
                self.assertNotIn(
                    found, {"os", "subprocess", "socket", "pathlib", "shutil", "pickle", "ctypes"}, str(file)
                )


class Formulas(unittest.TestCase):
    def at(self, written: str, x: float) -> float:
        return kit.Formula({"ast": parse(written)})(x)

    def test_values_are_those_of_the_functions(self) -> None:
        for written, x, value in (
            ("x^2 - 3x + 2", 5, 12), ("sin(x)/x", 2, math.sin(2) / 2), ("e^x", 1, math.e), ("ln(x)", math.e, 1),
            ("log(x)", 1000, 3), ("log2(x)", 8, 3), ("abs(x)", -2, 2), ("sqrt(x)", 9, 3), ("cbrt(x)", -27, -3),
            ("x^(1/3)", -8, -2), ("x^(2/3)", -8, 4), ("floor(x)", -0.5, -1), ("tanh(x)", 0, 0), ("2^x", 10, 1024),
            ("min(x, 3)", 7, 3), ("-x^2", 3, -9), ("sec(x)", 0, 1), ("atan(x)", 1, math.pi / 4),
        ):  # fmt: skip
            self.assertAlmostEqual(self.at(written, x), value, places=12, msg=written)
        self.assertAlmostEqual(kit.Formula({"ast": ["factorial", "x"]})(5), 120)
        self.assertAlmostEqual(kit.Formula({"ast": ["root", 3, "x"]})(-8), -2)
        self.assertAlmostEqual(kit.Formula({"ast": ["logb", 3, "x"]})(81), 4)
        self.assertAlmostEqual(kit.Formula({"ast": ["*", 2, "x", "pi"]})(1), math.tau)

    def test_outside_the_domain_is_nan_without_a_word(self) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for written, x in (
                ("1/x", 0),
                ("sqrt(x)", -1),
                ("ln(x)", 0),
                ("asin(x)", 2),
                ("tan(x)", math.pi / 2),
                ("exp(exp(x))", 99),
            ):
                self.assertTrue(math.isnan(self.at(written, x)), written)
            self.assertTrue(math.isnan(kit.Formula({"ast": ["+", "x", "i"]})(1)))
            self.assertTrue(
                np.isnan(kit.Formula({"ast": ["/", 1, "x"]})(np.array([0.0, 1.0]))).tolist() == [True, False]
            )

    def test_a_constant_has_the_shape_of_its_argument(self) -> None:
        self.assertEqual(kit.Formula({"ast": 3})(np.zeros((2, 5))).shape, (2, 5))
        self.assertEqual(kit.Formula({"ast": ["+", "x", "y"]}, ("x", "y"))(1.0, np.arange(3)).tolist(), [1, 2, 3])

    def test_a_tree_that_the_api_would_not_make_is_refused(self) -> None:
        deep: Any = "x"
        for _ in range(40):
            deep = ["sin", deep]
        for bad in (
            ["eval", "x"],
            ["sin"],
            ["sin", "x", "x"],
            "os",
            ["/", 1],
            [],
            None,
            {"a": 1},
            True,
            ["+", *(["x"] * 300)],
            deep,
        ):
            with self.assertRaises(ValueError):
                kit.Formula({"ast": bad})

    def test_the_symbolic_derivative_is_the_slope(self) -> None:
        for written in (
            "x^3 - 2x",
            "sin(2x)*x",
            "1/x",
            "exp(-x^2)",
            "ln(x)/x",
            "sqrt(x + 1)",
            "x^x",
            "tan(x)",
            "cos(x)^3",
            "2^x",
            "atan(x)",
        ):
            f = kit.Formula({"ast": parse(written)})
            tree = kit.derivative(f.ast)
            for x in (0.4, 1.1, 2.7):
                self.assertAlmostEqual(
                    kit.Formula.of_ast(tree)(x), f.slope(x), delta=1e-6 * max(1, abs(f.slope(x))), msg=written
                )
        self.assertIsNone(kit.derivative(parse("abs(x)")))

    def test_complex_numbers_know_i(self) -> None:
        value = kit.complex_value(parse("(1 + i)^2 + e^(i*pi)"))
        self.assertAlmostEqual(complex(value), complex(-1, 2))

    def test_numbers_are_written_for_people(self) -> None:
        for value, written in (
            (0.1 + 0.2, "0.3"), (-1, "−1"), (1e-15, "0"), (1234567, "1234567"), (2 / 3, "0.6667"), (1.5e12, "1.5×10¹²"),
            (math.nan, "undefined"), (-0.0, "0"), (999999999, "1×10⁹"), (-99999999, "−1×10⁸"),
        ):  # fmt: skip
            self.assertEqual(kit.num(value), written)
        self.assertEqual([kit.counted(n, "look") for n in (0, 1, 2)], ["0 looks", "1 look", "2 looks"])
        first = snapshots("bst", [{"value": 5}, {"op": "search", "value": 5}])[-1].note
        self.assertEqual(first, "5 is found after 1 comparison")

    def test_far_from_zero_a_slope_is_still_the_slope(self) -> None:
        for at in (0.7, 1e3, -1e5, 1e6):
            self.assertAlmostEqual(kit.Formula({"ast": parse("sin(x)")}).slope(at), math.cos(at), delta=1e-4, msg=str(at))

    def test_a_number_that_somebody_gave_keeps_its_digits(self) -> None:
        for value, written in (
            (1234.25, "1234.25"), (-0.5, "−0.5"), (12345678, "12345678"), (0.1 + 0.2, "0.3"), (0, "0"), (-0.0, "0"),
            (100000.125, "100000.125"), (3.14159265, "3.14159265"), (1e15, "1×10¹⁵"), (math.inf, "∞"),
        ):  # fmt: skip
            self.assertEqual(kit.given(value), written)
        self.assertEqual(kit.shown(1234.25), "1234.25")
        self.assertEqual(kit.shown(-1234.25, latex=True), "-1234.25")
        moments = snapshots("bst", [{"op": "insert", "value": each} for each in (1234.25, 12345678)])
        self.assertEqual([each[0] for each in moments[-1].nodes.values()], ["1234.25", "12345678"])
        self.assertIn("12345678 > 1234.25", moments[-2].note)


class Plots(unittest.TestCase):
    def plot(self, x: tuple[float, float], y: tuple[float, float]) -> kit.Plot:
        return kit.Plot(kit.Theme.of({}), kit.Box(-5, -3, 10, 6), x, y, labels=False)

    def test_a_graph_is_cut_at_poles_and_jumps_and_stays_in_the_box(self) -> None:
        for written, x, pieces in (
            ("1/x", (-5, 5), 2),
            ("tan(x)", (-4, 4), 3),
            ("floor(x)", (0.1, 3.9), 4),
            ("sqrt(x)", (-2, 4), 1),
            ("x^2", (-9, 9), 1),
            ("1/x^2", (-3, 3), 2),
            ("1/0 + x", (-1, 1), 0),
        ):
            f = kit.Formula({"ast": parse(written)})
            plot = self.plot(x, (-4, 4))
            found = plot.pieces(f, *x)
            self.assertEqual(len(found), pieces, written)
            for piece in found:
                self.assertTrue((np.abs(piece[:, 1]) <= 4 + 1e-9).all(), written)
                self.assertTrue((np.diff(piece[:, 0]) >= 0).all(), written)

    def test_what_is_drawn_is_the_function(self) -> None:
        for written in ("sin(3x)", "x^3/9 - x", "exp(x/3)", "ln(x + 5)", "abs(x)"):
            f = kit.Formula({"ast": parse(written)})
            for piece in self.plot((-4.5, 4.5), (-5, 5)).pieces(f, -4.5, 4.5):
                inside = np.abs(piece[:, 1]) < 5 - 1e-9
                self.assertLess(np.abs(piece[inside, 1] - f(piece[inside, 0])).max(), 1e-6, written)

    def test_ticks_are_nice_and_multiples_of_pi_are_written_so(self) -> None:
        self.assertEqual([kit.nice_step(span, 5) for span in (10, 1, 7, 43)], [2, 0.2, 2, 10])
        self.assertEqual(
            [kit.pi_text(k * math.pi / 12) for k in (0, 6, -12, 24, 9, 4)], ["0", "π/2", "−π", "2π", "3π/4", "π/3"]
        )
        self.assertTrue(self.plot((0, 2 * math.pi), (-1, 1)).pi)
        self.assertFalse(self.plot((0, 6), (-1, 1)).pi)

    def test_roots_extrema_and_asymptotes_are_found(self) -> None:
        cubic = kit.Formula({"ast": parse("x^3 - 3x")})
        np.testing.assert_allclose(kit.roots(cubic, -3, 3), [-math.sqrt(3), 0, math.sqrt(3)], atol=1e-9)
        np.testing.assert_allclose(kit.extrema(cubic, -3, 3), [(-1, 2), (1, -2)], atol=1e-6)
        pole = kit.Formula({"ast": parse("1/(x - 1) + 2")})
        vertical, level = kit.asymptotes(pole, (-4, 4))
        np.testing.assert_allclose(vertical, [1], atol=1e-6)
        self.assertEqual(level, [2.0])
        self.assertEqual(kit.roots(kit.Formula({"ast": parse("tan(x)")}), 1, 2), [])

    def test_integrals_are_right_and_none_is_made_up(self) -> None:
        def area(written: str, a: float, b: float) -> float:
            return kit.integral(kit.Formula({"ast": parse(written)}), a, b)

        self.assertAlmostEqual(area("x^2", 0, 2), 8 / 3)
        self.assertAlmostEqual(area("sin(x)", 0, math.pi), 2)
        self.assertAlmostEqual(area("x", 2, 0), -2)
        for written, a, b in (("1/x", -1, 1), ("tan(x)", -2, 2), ("sqrt(x)", -1, 1), ("sin(x)", 0, 1e6), ("sin(x^2)", 0, 1000)):
            self.assertTrue(math.isnan(area(written, a, b)), written)
        self.assertEqual(str(kit.nice_fraction(8 / 3)), "8/3")


class Contents(unittest.TestCase):
    def test_every_sort_sorts_and_its_steps_lead_there(self) -> None:
        for algorithm in ALGORITHMS:
            for array in ([5, 2, 8, 1, 9, 3], [1, 1, 1], [2, 1], list(range(16, 0, -1)), [0.5, -3, 7, 0.5]):
                a = list(array)
                compared = 0
                for step in steps_of(algorithm, a):
                    compared += step.kind == "compare"
                    if step.kind == "swap":
                        a[step.i], a[step.j] = a[step.j], a[step.i]
                    elif step.kind == "move":
                        a.insert(step.j, a.pop(step.i))
                self.assertEqual(a, sorted(array), algorithm)
                self.assertGreaterEqual(compared, len(array) - 1)

    def test_equations_are_solved(self) -> None:
        def last(written: str) -> str:
            left, right = map(parse, written.split(" = "))
            return solution(left, right)[-1].right

        self.assertEqual(last("2x + 3 = 7"), "2")
        self.assertEqual(last("x/2 - 1 = x/3"), "6")
        self.assertEqual(last("x^2 - 5x + 6 = 0"), r"2 \quad\text{or}\quad x = 3")
        self.assertEqual(last("x^2 + 1 = 0"), r"\text{no real number}")
        self.assertEqual(last("2*(x + 1) = 2x + 2"), r"\text{any number}")
        self.assertEqual(last("x = x + 1"), r"\text{no number}")
        self.assertTrue(last("x^2 = 2").startswith("-1.414"))
        self.assertTrue(last("cos(x) = x").startswith("0.739"))

    def test_shortest_paths_and_least_trees_are_right(self) -> None:
        edges = [("A", "B", 4.0), ("A", "C", 1.0), ("C", "B", 2.0), ("B", "D", 5.0), ("C", "D", 8.0)]
        final = dict(dijkstra(["A", "B", "C", "D"], edges, "A")[-1].tags)
        self.assertEqual(final, {"A": "0", "B": "3", "C": "1", "D": "8"})
        for steps in (kruskal(["A", "B", "C", "D"], edges), prim(["A", "B", "C", "D"], edges, "A")):
            self.assertEqual(steps[-1].state, "Total: 8")
            self.assertEqual(len(steps[-1].tree), 3)

    def test_trees_keep_their_order(self) -> None:
        ops = [{"op": "insert", "value": v} for v in (5, 3, 8, 1, 4, 9)] + [
            {"op": "delete", "value": 5},
            {"op": "delete", "value": 1},
        ]
        last = snapshots("bst", ops)[-1].nodes
        self.assertEqual(sorted(label for label, _, _ in last.values()), ["3", "4", "8", "9"])
        for label, parent, place in last.values():
            if parent is not None:
                self.assertEqual(float(label) > float(last[parent][0]), place == 1)
        heap = snapshots("heap", ops[:6])[-1].nodes
        for label, parent, _ in heap.values():
            self.assertTrue(parent is None or float(heap[parent][0]) <= float(label))
        self.assertIn("23 bits", snapshots("huffman", [{"value": "abracadabra"}])[-1].note)

    def test_a_folded_flow_turns_where_one_box_follows_one_box(self) -> None:
        chain = [[i] for i in range(10)]
        two = folded(chain, 2)
        self.assertEqual(two, [(0, i) for i in range(5)] + [(1, 4 - i) for i in range(5)])
        self.assertEqual(lanes(chain, two), [1, 1])
        # 0 → 1 → 2 → (3, 4) → 5 → 6
        order = layers(7, [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 5), (5, 6)])
        for rows in (2, 3, 4):
            way = folded(order, rows)
            for depth in range(1, len(way)):
                turns = way[depth][0] != way[depth - 1][0]
                self.assertEqual(abs(way[depth][1] - way[depth - 1][1]), 0 if turns else 1)
                if turns:
                    self.assertEqual((len(order[depth - 1]), len(order[depth])), (1, 1))
        self.assertIsNone(folded([[0], [1, 2], [3]], 2))

    def test_an_arrow_that_skips_a_box_goes_around_it(self) -> None:
        box, within = Rect(-0.5, -0.4, 0.5, 0.4), Rect(-6, -3, 6, 3)
        first, last, up = np.array([-3.0, 0.4, 0]), np.array([3.0, 0.4, 0]), np.array([0, 1.0, 0])
        line = straight(np.array([-2.5, 0, 0]), np.array([2.5, 0, 0]))
        bows = [bow(first, last, side, angle) for side in (up, -up) for angle in BENDS]
        for way in bows:
            self.assertTrue(np.allclose(way.points[[0, -1]], [first, last]))
            self.assertGreater((way.points[24] - first) @ way.side, 0)
            arc = ArcBetweenPoints(first, last, angle=way.bend)
            self.assertTrue(np.allclose(arc.point_from_proportion(0.5), way.points[24], atol=1e-2), "as Manim draws it")
        self.assertEqual((hits(line, [box], within), hits(line, [], within)), (1, 0))
        narrow = Rect(-1, -3, 1, 3)
        self.assertEqual((hits(line, [box], narrow), crosses(line, [box])), (2, 1), "only the first counts the picture's edge")
        self.assertIs(best([line, *bows], [box], within), bows[0])
        self.assertIs(best([line, *bows], [], within), line)
        roof = Rect(-0.5, 0.45, 0.5, 2.0)
        self.assertLess(best([line, *bows[:5], *bows[5:]], [box, roof], Rect(-6, -3, 6, 1.2)).points[24][1], 0.3)

    def test_arrows_and_labels_of_a_flow_lie_on_no_box(self) -> None:
        edges = [("A", "B", ""), ("B", "C", ""), ("C", "D", "then"), ("A", "C", "skips"), ("A", "D", "all the way"), ("D", "B", "again")]
        for aspect in ((14.22, 8.0), (4.5, 8.0)):
            for way in ("horizontal", "vertical"):
                params = {"nodes": list("ABCD"), "layout": way, "edges": [{"from": a, "to": b, "label": name} for a, b, name in edges]}
                with tempconfig({"frame_width": aspect[0], "frame_height": aspect[1], "dry_run": True, "verbosity": "ERROR"}):
                    scene = catalogue.load("flow-diagram", params)()
                    with mock.patch.object(type(scene), "play"), mock.patch.object(type(scene), "wait"):
                        scene.begin()
                        scene.story()
                    boxes = [Rect.of(each[0]) for each in scene.boxes]
                    for ends, route in scene.routes.items():
                        others = [each for i, each in enumerate(boxes) if i not in ends]
                        self.assertEqual(hits(route, others, Rect(-99, -99, 99, 99)), 0, (way, ends))
                    self.assertEqual(len(scene.named), 4)
                    self.assertFalse([label for label in scene.named for box in boxes if label.meets(box)], way)

    def test_an_arrow_that_leaves_the_picture_is_no_harm_to_a_label_elsewhere(self) -> None:
        scene = catalogue.load("flow-diagram", {"nodes": list("AB"), "layout": "horizontal"})()
        with mock.patch.object(type(scene), "play"), mock.patch.object(type(scene), "wait"):
            scene.begin()
            scene.story()
        free = Rect(-0.2, scene.safe.bottom + 0.1, 0.2, scene.safe.bottom + 0.4)
        self.assertEqual(scene._harm(free), 0)
        scene.routes[1, 0] = straight(np.array([-3.0, 0, 0]), np.array([-3.0, 9, 0]))
        self.assertEqual(scene._harm(free), 0)
        self.assertEqual(scene._harm(Rect(-3.2, 1.5, -2.8, 1.8)), 1)

    def test_a_bend_has_a_slope_and_a_corner_an_end_or_an_upright_tangent_none(self) -> None:
        for written, a, slope in (
            ("x^2", 1, 2), ("1500x^2", 0, 0), ("cos(50x)", 0, 0), ("sin(3x)", 10**6, 3 * math.cos(3e6)), ("sin(50x)", 10**6, 50 * math.cos(5e7)),
            ("abs(x)^(4/3)", 0, 0), ("abs(x - 1)", 3, 1), ("1/x", 0.001, -(10**6)), ("x*abs(x)", 0, 0), ("2", 5, 0), ("cbrt(x^3)", 0, 1),
        ):  # fmt: skip
            found, why_not = slope_of(written, a)
            self.assertEqual(why_not, "", written)
            self.assertAlmostEqual(found, slope, delta=1e-3 * max(1, abs(slope)), msg=written)
        for written, a, said in (
            ("abs(x)", 0, "From the left"), ("abs(sin(x))", 0, "From the left"), ("abs(x - 1) + x^2", 1, "From the left"),
            ("max(sin(x), x/4)", 0, "From the left"), ("x^(2/3)", 0, "From the left"), ("abs(x) + 1000x^2", 0, "From the left"),
            ("floor(x)", 1, "From the left"), ("cbrt(x)", 0, "ever steeper"), ("x^(3/5)", 0, "ever steeper"), ("sqrt(x)", 0, "both sides"),
        ):  # fmt: skip
            found, why_not = slope_of(written, a)
            self.assertTrue(math.isnan(found), f"{written}: {found}")
            self.assertIn(said, why_not, written)

    def test_a_jump_is_named_by_its_size_whatever_signs_its_user_wrote_in_it(self) -> None:
        jumps = ["1-3", "-1+3", -2.5, "−1/3", "-(1-3)", "cos(pi)", "1/2"]
        params = resolve(_schema("number-line"), {"jumps": jumps})
        line = catalogue.load("number-line", params)
        self.assertEqual(line._names(params), ["−2", "+2", "−2.5", "−1/3", "+2", "−1", "+1/2"])
        scene = line.__new__(line)
        scene.p = params
        self.assertEqual(scene.heading(), "0 − 2 + 2 − 2.5 − 1/3 + 2 − 1 + 1/2")
        self.assertEqual(line._said(params)[1], "2 to the left: −2")

    def test_of_fractions_all_that_are_the_largest_are_named(self) -> None:
        made = catalogue.load("fraction-bars", resolved_fixture("fraction-bars", "minimal"))
        for fractions, said in (
            ([(1, 2), (2, 4), (1, 3), (3, 6)], "1/2, 2/4 and 3/6 are the largest"),
            ([(1, 2), (2, 4), (1, 3)], "1/2 and 2/4 are the largest"),
            ([(1, 2), (1, 3)], "1/2 is the larger"),
            ([(1, 2), (2, 4)], "They are equal"),
        ):
            scene = made.__new__(made)
            with mock.patch.object(made, "play") as play, mock.patch.object(made, "wait"):
                scene._compare(fractions)
            self.assertEqual(play.call_args.kwargs["caption"], said)

    def test_the_library_has_its_proofs(self) -> None:
        self.assertGreaterEqual(len(LIBRARY), 5)
        listed = catalogue.description("theorem-proof")["parameters"]["properties"]["name"]["x-library"]
        self.assertEqual(sorted(listed), sorted(LIBRARY))
        for theorem in LIBRARY.values():
            self.assertTrue(3 <= len(theorem.steps) <= 7 and theorem.statement)

    def test_a_sequence_takes_its_parts_and_never_itself(self) -> None:
        made = catalogue.load("sequence", resolved_fixture("sequence", "hostile"))
        self.assertGreater(made.declared_seconds(), 4)
        with self.assertRaisesRegex(ValueError, "at least one part"):
            catalogue.load("sequence", {"parts": [{"template": "sequence", "params": {}}]}).declared_seconds()


class Texts(unittest.TestCase):
    HOSTILE = (
        "", " ", "\x00", "\ud800", "\u202etxt", "<b>&amp;</b>", "\\input{/etc/passwd}", "$x$%#{}~^_", "'\"`;--", "\n\n\t",
        "e\u0301\u0302\u0303" * 20, "مرحبا بالعالم", "你好世界" * 9, "👩‍👩‍👧‍👦" * 4, "W" * 120, "a b " * 40,
    )  # fmt: skip

    def test_any_text_is_drawn_in_its_box_as_data(self) -> None:
        theme = kit.Theme.of({})
        with tempconfig({"media_dir": self.folder, "verbosity": "ERROR"}):
            for written in self.HOSTILE:
                for width, height in ((3.0, 0.5), (0.4, 0.4)):
                    made = kit.text(theme, written, "body", width=width, height=height)
                    self.assertLessEqual(made.width, width + 0.02, repr(written)[:40])
                    self.assertLessEqual(made.height, 1.3 * height + 0.02, repr(written)[:40])

    def test_what_is_drawn_has_no_control_characters_and_is_bounded(self) -> None:
        for written in (*self.HOSTILE, "x" * 10**6, None, 5, ["a"]):
            drawn = kit.clean(written)
            self.assertLessEqual(len(drawn), 1200)
            self.assertFalse([each for each in drawn if unicodedata.category(each)[0] == "C"], repr(drawn)[:40])

    def test_every_text_parameter_takes_hostile_text(self) -> None:
        """Titles and lengths are made of parameters: they come out, or an error that a person can read."""
        for template in catalogue.ids():
            properties = catalogue.description(template)["parameters"]["properties"]
            free = [
                n
                for n, each in properties.items()
                if each.get("type") == "string" and "enum" not in each and "format" not in each
            ]
            base = resolved_fixture(template, "default")
            for written in self.HOSTILE:
                for name in free:
                    params = base | {name: written[: properties[name]["maxLength"]]}
                    made = catalogue.load(template, params)
                    scene = made.__new__(made)
                    scene.p = params
                    try:
                        self.assertIsInstance(made.heading(scene), str, template)
                        self.assertTrue(math.isfinite(made.declared_seconds(params)), template)
                    except ValueError as error:  # said in a sentence, by a template with a language of its own
                        self.assertTrue(10 < len(str(error)) < 300, f"{template}: {error!r}")

    def setUp(self) -> None:
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="texts-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name


class Colours(unittest.TestCase):
    def test_ink_can_be_read_on_any_background(self) -> None:
        def light(colour: str) -> float:
            parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        for background in ("#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff", "#ffff00", "#123456"):
            theme = kit.Theme.of({"background": background})
            one, two = sorted((light(theme.ink), light(theme.background)))
            self.assertGreater((two + 0.05) / (one + 0.05), 3.0, background)
        self.assertEqual(kit.Theme.of({"background": "url(x)"}).background, kit.Theme.of({}).background)


class Check(unittest.TestCase):
    def test_the_check_tells_a_film_from_a_failure(self) -> None:
        """One small film, and one job that cannot be rendered."""
        import os
        import subprocess
        import tempfile

        params = resolve(schema_of("title-card"), {"title": "Hi", "pace": "fast"})
        with tempfile.TemporaryDirectory() as folder:
            jobs = [
                {"name": "good", "template": "title-card", "params": params, "aspect": "9:16", "out": f"{folder}/good"},
                {"name": "bad", "template": "no-such", "params": {}, "aspect": "16:9"},
            ]
            root = str(Path(catalogue.__file__).resolve().parent.parent)
            done = subprocess.run(
                [sys.executable, "-B", "-m", "manimq_templates.check", "--fps", "5"],
                input="\n".join(map(json.dumps, jobs)), env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            results = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
            self.assertEqual(done.returncode, 1)
            self.assertTrue(results["good"]["ok"], results)
            self.assertGreater(results["good"]["frames"], 10)
            self.assertIn("no template", results["bad"]["error"])
            self.assertTrue(Path(f"{folder}/good.png").exists() and Path(f"{folder}/good-sheet.png").exists())


if __name__ == "__main__":
    unittest.main()
