from manim import *
class Evil(Scene):
    def construct(self):
        __import__("os").system("id")  # refused: forbidden-name
