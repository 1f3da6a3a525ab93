"""Expressions of the truth table: what people write is read, and what is none is told with its place."""

import itertools
import unittest

from manimq_templates.truth_table import logic


class Logic(unittest.TestCase):
    def results(self, written: str) -> str:
        tree = logic.parse(written)
        names = logic.variables(tree)
        cases = itertools.product([False, True], repeat=len(names))
        return "".join("FT"[logic.value(tree, dict(zip(names, case, strict=True)))] for case in cases)

    def test_words_and_signs_mean_the_same(self) -> None:
        for written in ("NOT (A AND B)", "not(a and b)", "!(A&&B)", "¬(A ∧ B)", "A nand B", "~A | ~B"):
            self.assertEqual(self.results(written), "TTTF", written)

    def test_not_binds_first_then_and_then_or_then_implies(self) -> None:
        self.assertEqual(self.results("A or B and C"), self.results("A or (B and C)"))
        self.assertEqual(self.results("not A and B"), self.results("(not A) and B"))
        self.assertEqual(self.results("A -> B -> C"), self.results("A -> (B -> C)"))
        self.assertEqual(self.results("A -> B"), "TTFT")
        self.assertEqual(self.results("A <-> B"), "TFFT")
        self.assertEqual(self.results("A xor B"), "FTTF")

    def test_parts_come_from_the_inside_out(self) -> None:
        shown = [logic.shown(each) for each in logic.parts(logic.parse("NOT (A AND B) OR C"))]
        self.assertEqual(shown, ["A ∧ B", "¬(A ∧ B)", "¬(A ∧ B) ∨ C"])

    def test_what_is_wrong_is_told_with_its_place(self) -> None:
        for written, words in (
            ("", "expected at character 1"),
            ("A AND", "expected at character 6"),
            ("(A", "bracket at character 1"),
            ("A B", "nothing is expected at character 3"),
            ("A + B", "'+' at character 3"),
            ("A AND cat", "'cat' at character 7"),
            ("A & B & C & D & E", "5 variables"),
            ("(" * 40 + "A" + ")" * 40, "nested"),
            ("!" * 100 + "A", "nested"),
            ("!!!!!!!!A", "8 parts"),
            ("A" * 200, "200 characters"),
        ):
            with self.assertRaises(logic.LogicError) as caught:
                logic.parse(written)
            self.assertIn(words, str(caught.exception), written)
