from manim import *


class Moment(Scene):
    def construct(self):
        axes = Axes(x_length=6, y_length=4)
        self.add(axes, axes.plot(lambda x: x * x / 9))
        self.play(Rotate(Star(color=GOLD, fill_opacity=0.7), 1), run_time=0.2)
