from manim import *
@exec  # refused: forbidden-name
@str
class Evil(Scene):
    pass
