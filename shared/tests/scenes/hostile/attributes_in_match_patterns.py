from manim import *
class Evil(Scene):
    def construct(self):
        match self.play:
            case object(__func__=function):  # refused: dunder-attribute
                pass
            case [object(__self__=object(__dict__=d)), *_]:  # refused: dunder-attribute
                pass
            case {"x": object(f_globals=g)}:  # refused: forbidden-attribute
                pass
