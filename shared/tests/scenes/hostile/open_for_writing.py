from manim import *
class Evil(Scene):
    def construct(self):
        with open("/tmp/x", "w") as file:  # refused: forbidden-name
            file.write("x")
