from manim import *


class Formula(Scene):
    def construct(self):
        first = MathTex(r"e^{i\pi} + 1 = 0")
        second = MathTex(r"\int_0^1 x^2 \, dx = \frac{1}{3}")
        third = MathTex(r"\sum_{n=1}^\infty \frac{1}{n^2} = \frac{\pi^2}{6}")
        self.play(Write(first))
        self.play(ReplacementTransform(first, second))
        self.play(ReplacementTransform(second, third))
        self.wait()
