from manim import *


class TitleAndFormula(Scene):
    """The first thing most people write."""

    def construct(self):
        title = Text("Euler's identity", font_size=48)
        formula = MathTex(r"e^{i\pi} + 1 = 0")
        VGroup(title, formula).arrange(DOWN, buff=0.8)
        self.play(Write(title))
        self.play(FadeIn(formula, shift=UP), run_time=2)
        self.play(Indicate(formula[0][0:3]))
        self.wait(2)
