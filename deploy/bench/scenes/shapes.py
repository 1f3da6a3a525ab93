from manim import *


class Shapes(Scene):
    def construct(self):
        square = Square(color=BLUE, fill_opacity=0.5)
        self.play(Create(square))
        self.play(Transform(square, Circle(color=RED)))
        self.play(FadeOut(square))
