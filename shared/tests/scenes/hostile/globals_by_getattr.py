from manim import *
class Evil(Scene):
    def construct(self):
        getattr(self.play, "__globals__")  # refused: dunder-attribute
        getattr(self.play, "__glo" + "bals__")  # refused: computed-attribute
        getattr(self.play, f"_{'_'}globals__")  # refused: computed-attribute
        getattr(self.play, "%sglobals__" % "__")  # refused: computed-attribute
        getattr(self.play, "{}globals__".format("__"))  # refused: computed-attribute
        getattr(self.play, "f_" + "globals")  # refused: computed-attribute
        getattr(self.play, chr(95) * 2)  # refused: computed-attribute
        setattr(Scene, name, 3)  # refused: computed-attribute
        getattr(*[self, "x"])  # refused: forbidden-name
