r"""What is told of a formula that LaTeX refuses: logs as TeX writes them for Manim's formulas."""

import unittest

from manimq_renderer import tex_words

_IN_ALIGN = r"""! Undefined control sequence.
<argument>  \special {dvisvgm:raw <g id='unique000'>}x = \undefinedmacro 
                                                                         {2}\special {dvisvgm:raw </g>} 
l.8 \end{align*}

Here is how much of TeX's memory you used:
"""
_CUT = r"""! Undefined control sequence.
<argument> ...al {dvisvgm:raw <g id='unique000'>}\int _0^1 \special {dvisvgm:raw </g>}= \undefinedmacro 
                                                                      {2} + \sum _{...
l.8 \end{align*}
"""
_IN_TEXT = r"""! Undefined control sequence.
l.7 \special{dvisvgm:raw <g id='unique000'>}Hallo \undefinedmacro
                                                                 {2} Welt\special{dvisvgm:raw </g>}
"""
_IN_A_MACRO = r"""! Undefined control sequence.
\own ->a \wrong 
                +b
<argument>  \special {dvisvgm:raw <g id='unique000'>}1 + \own 
                                                              \special {dvisvgm:raw </g>}
l.8 \end{align*}
"""
_NO_DOLLAR = r"""! Missing $ inserted.
<inserted text> 
                $
l.7 \special{dvisvgm:raw <g id='unique000'>}x_
                                              2\special{dvisvgm:raw </g>}
"""
_NO_PLACE = r"""! LaTeX Error: Environment matrx undefined.

See the LaTeX manual or LaTeX Companion for explanation.
Type  H <return>  for immediate help.
 ...                                              
                                                  
l.8 \end{align*}
"""


class WhatTexSays(unittest.TestCase):
    def test_the_macro_is_named_though_tex_shows_the_end_of_the_environment(self) -> None:
        self.assertEqual(
            tex_words.errors(_IN_ALIGN), [r"Undefined control sequence \undefinedmacro (at: x = \undefinedmacro)"]
        )

    def test_of_a_mark_that_is_cut_in_the_middle_nothing_is_left(self) -> None:
        self.assertEqual(
            tex_words.errors(_CUT),
            [r"Undefined control sequence \undefinedmacro (at: ...\int _0^1 = \undefinedmacro)"],
        )
        for end in range(1, 45):
            cut = "..." + r"\special {dvisvgm:raw <g id='unique000'>}"[-end:] + r"a + \b"
            [told] = tex_words.errors(f"! Double superscript.\n<argument> {cut} \n")
            self.assertNotRegex(told, "dvisvgm|unique|>", cut)
            self.assertTrue(told.endswith(r"a + \b)"), told)

    def test_a_log_that_a_formula_wrote_itself_takes_no_time(self) -> None:
        # Ten minutes where each place is tried for each other one.
        for line in ("a" * 500_000, "a" * 250_000 + "{dvisvgm:raw " + "b" * 250_000, "\\a " * 100_000, " " * 500_000):
            [told] = tex_words.errors(f"! boo\nl.1 ...{line}")
            self.assertLess(len(told), 200)

    def test_text_is_told_as_formulas_are(self) -> None:
        self.assertEqual(
            tex_words.errors(_IN_TEXT), [r"Undefined control sequence \undefinedmacro (at: Hallo \undefinedmacro)"]
        )
        self.assertEqual(tex_words.errors(_NO_DOLLAR), ["Missing $ inserted (at: x_)"])

    def test_a_macro_in_a_macro_is_named_with_the_place_that_the_author_knows(self) -> None:
        self.assertEqual(tex_words.errors(_IN_A_MACRO), [r"Undefined control sequence \wrong (at: 1 + \own)"])

    def test_the_end_of_an_environment_is_no_place(self) -> None:
        self.assertEqual(tex_words.errors(_NO_PLACE), ["LaTeX Error: Environment matrx undefined"])

    def test_what_follows_in_the_log_is_of_the_next_error_only(self) -> None:
        self.assertEqual(
            tex_words.errors(f"! LaTeX Error: Something.\n{_IN_TEXT}"),
            ["LaTeX Error: Something", r"Undefined control sequence \undefinedmacro (at: Hallo \undefinedmacro)"],
        )


if __name__ == "__main__":
    unittest.main()
