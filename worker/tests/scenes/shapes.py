from manim import *


class Shapes(Scene):
    def construct(self):
        square = Square(color=BLUE, fill_opacity=0.5)
        self.play(Create(square))
        self.play(Transform(square, Circle(color=RED)))
        self.wait(0.4)
        dot = Dot().add_updater(lambda mob, dt: mob.shift(RIGHT * dt))
        self.add(dot)
        self.play(Rotate(square, PI / 3), run_time=0.5)
        self.wait(0.3)
