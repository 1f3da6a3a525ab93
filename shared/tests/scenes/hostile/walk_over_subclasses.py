from manim import *
class Evil(Scene):
    def construct(self):
        for cls in ().__class__.__base__.__subclasses__():  # refused: dunder-attribute
            print(cls)
