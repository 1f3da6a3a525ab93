from manim import *
class Evil(Scene):
    def construct(self):
        read = getattr  # refused: forbidden-name
        list(map(getattr, [self], ["__dict__"]))  # refused: forbidden-name
