from manim import *
class Evil(Scene):
    def construct(self):
        __builtins__["eval"]("1")  # refused: forbidden-name
        __loader__.load_module("os")  # refused: forbidden-name
        __spec__.loader  # refused: forbidden-name
        globals()["x"]  # refused: forbidden-name
        vars(np)  # refused: forbidden-name
        locals()  # refused: forbidden-name
        breakpoint()  # refused: forbidden-name
