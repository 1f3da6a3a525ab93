from manim import *

config.frame_width = 9
config.background_color = "#20304f"


class Framed(Scene):
    def construct(self):
        square = Square(side_length=3, color=YELLOW, fill_opacity=0.4)
        self.play(Create(square), run_time=0.4)
        self.play(square.animate.to_edge(LEFT), run_time=0.4)
        self.wait(0.2)
