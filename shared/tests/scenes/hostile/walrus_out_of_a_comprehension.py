from manim import *
class Evil(Scene):
    def construct(self):
        [(m := np) for _ in range(1)]
        m.ctypeslib  # refused: member-not-allowed
        return [w._core for w in [0] if (w2 := np)._core]  # refused: private-member
