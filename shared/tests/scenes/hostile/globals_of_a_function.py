from manim import *
class Evil(Scene):
    def construct(self):
        self.play.__func__.__globals__["os"].system("id")  # refused: dunder-attribute
        Scene.__init__.__builtins__  # refused: dunder-attribute
        print.__self__.eval  # refused: dunder-attribute
        self.construct.__code__ = None  # refused: dunder-attribute
        del Scene.__dict__  # refused: dunder-attribute
