from manim import *


class OtherEngine(Scene):
    def construct(self):
        template = TexTemplate(tex_compiler="xelatex", output_format=".xdv")
        formula = Tex(r"Größe $\int_0^1 x^2$", tex_template=template)
        self.play(Write(formula), run_time=0.4)
