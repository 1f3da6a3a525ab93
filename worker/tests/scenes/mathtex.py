from manim import *


class Formula(Scene):
    def construct(self):
        formula = MathTex(r"\frac{a}{b}", "=", r"\sum_{n=1}^{\infty} x_n")
        self.play(Write(formula), run_time=0.6)
        self.play(formula[0].animate.set_color(RED), run_time=0.4)
        self.play(ReplacementTransform(formula, Tex(r"Hello \LaTeX")), run_time=0.4)
