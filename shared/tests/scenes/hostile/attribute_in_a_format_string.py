from manim import *
class Evil(Scene):
    def construct(self):
        "{0.play.__globals__}".format(self)  # refused: format-field
        "{x[a].f_globals!r:>3}".format_map({"x": self})  # refused: format-field
        str.format("{0.__init__.__globals__}", self)  # refused: format-field
