from manim import *
import collections as c

d = c
(e := d)._sys  # refused: private-member


class Evil(Scene):
    numbers = np

    def construct(self):
        n: object = np
        n.random._pickle  # refused: private-member
        n.linalg._umath_linalg  # refused: private-member
