from manim import *
class Evil(Scene):
    def construct(self, run=eval):  # refused: forbidden-name
        (lambda f=compile: f)()  # refused: forbidden-name
