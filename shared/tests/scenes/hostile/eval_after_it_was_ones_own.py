from manim import *
eval = str


class Evil(Scene):
    def construct(self):
        global eval
        del eval
        eval("1")  # refused: forbidden-name
