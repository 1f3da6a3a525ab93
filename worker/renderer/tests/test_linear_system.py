"""Linear systems: exact solutions, and what is none."""

import unittest
from fractions import Fraction
from typing import Any

from manimq_templates.linear_system import solve


def equation(left: Any, right: Any) -> dict[str, Any]:
    return {"text": "an equation", "latex": "", "left": left, "right": right}


class Solving(unittest.TestCase):
    def solved(self, *equations: dict[str, Any]) -> Any:
        rows = solve.rows_of(list(equations), solve.NAMES[: len(equations)])
        return solve.solution(solve.eliminate(rows)[1])

    def test_one_solution_is_exact(self) -> None:
        found = self.solved(equation(["+", "x", ["*", 3, "y"]], 1), equation(["-", "x", "y"], ["/", 1, 3]))
        self.assertEqual(found, [Fraction(1, 2), Fraction(1, 6)])

    def test_contradictions_and_repetitions_are_told(self) -> None:
        one = equation(["+", "x", "y"], 1)
        self.assertEqual(self.solved(one, equation(["+", "x", "y"], 2)), "none")
        self.assertEqual(self.solved(one, equation(["*", 2, ["+", "x", "y"]], 2)), "many")

    def test_every_step_has_the_same_solution(self) -> None:
        rows = [[Fraction(n) for n in row] for row in ([0, 3, -1, 5], [4, -1, 5, 17], [-3, 7, 2, 13])]
        steps, final = solve.eliminate(rows)
        found = solve.solution(final)
        for step in steps:
            for row in step.rows:
                self.assertEqual(sum(a * b for a, b in zip(row, found, strict=False)), row[-1])

    def test_an_equation_is_written_without_its_right_side_as_a_variable(self) -> None:
        self.assertEqual(solve.latex([Fraction(1), Fraction(-2), Fraction(3)]), "x - 2y = 3")

    def test_what_is_not_linear_is_refused_by_name(self) -> None:
        with self.assertRaisesRegex(ValueError, "an equation.*not linear"):
            self.solved(equation(["^", "x", 2], 1), equation("y", 1))
