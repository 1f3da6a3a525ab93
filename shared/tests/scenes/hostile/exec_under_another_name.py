from manim import *
draw = exec  # refused: forbidden-name


class Evil(Scene):
    def construct(self):
        draw("import os")
