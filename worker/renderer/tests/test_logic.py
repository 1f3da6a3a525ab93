"""Expressions of the truth table, which the scene gets as trees; they are read in Rust (``templates/logic.rs``)."""

import itertools
import unittest
from typing import Any

from manimq_templates.truth_table import logic

from .resolve import logical


class Logic(unittest.TestCase):
    def results(self, tree: Any) -> str:
        names = logic.variables(tree)
        cases = itertools.product([False, True], repeat=len(names))
        return "".join("FT"[logic.value(tree, dict(zip(names, case, strict=True)))] for case in cases)

    def test_each_operator_has_its_table(self) -> None:
        for op, table in (
            ("and", "FFFT"), ("or", "FTTT"), ("xor", "FTTF"), ("nand", "TTTF"), ("nor", "TFFF"), ("if", "TTFT"), ("iff", "TFFT"),
        ):  # fmt: skip
            self.assertEqual(self.results(logic.check([op, "A", "B"])), table, op)
        self.assertEqual(self.results(["not", "A"]), "TF")

    def test_parts_come_from_the_inside_out(self) -> None:
        shown = [logic.shown(each) for each in logic.parts(logical("NOT (A AND B) OR C"))]
        self.assertEqual(shown, ["A ∧ B", "¬(A ∧ B)", "¬(A ∧ B) ∨ C"])

    def test_a_tree_that_the_api_would_not_make_is_refused(self) -> None:
        deep: Any = "A"
        for _ in range(60):
            deep = ["not", deep]
        wide: Any = "A"
        for each in "BCDE":
            wide = ["and", wide, each]
        for bad in (None, 7, "", "AB", "é", [], ["eval", "A"], ["not", "A", "B"], ["and", "A"], [["not"], "A"], {"a": 1}, deep, wide):
            with self.assertRaises(ValueError):
                logic.check(bad)
