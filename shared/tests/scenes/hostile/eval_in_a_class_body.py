from manim import *
class Evil(Scene):
    run = eval  # refused: forbidden-name
    eval = str
