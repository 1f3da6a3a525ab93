from manim import *
class Evil(Scene):
    def construct(self):
        eval("1")  # refused: forbidden-name
