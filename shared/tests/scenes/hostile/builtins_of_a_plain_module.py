import manim.utils.color.manim_colors as colors
from manim import *


class Evil(Scene):
    def construct(self):
        inside = rate_functions.__dict__  # refused: dunder-attribute
        rate_functions.__dict__["__builtins__"]["eval"]("1")  # refused: dunder-attribute
        rate_functions.__dict__.get("__builtins__")  # refused: dunder-attribute
        rate_functions.__dict__.update(smooth=print)  # refused: dunder-attribute
        rate_functions.__dict__.items().__self__  # refused: dunder-attribute
        np.__dict__.items()  # refused: dunder-attribute
        manim_colors.__dict__.items  # refused: dunder-attribute
        getattr(colors, "__builtins__")  # refused: dunder-attribute
        getattr(colors, f"__{inside}__")  # refused: computed-attribute
        getattr(np, inside)  # refused: computed-attribute
        getattr(utils, inside)  # refused: computed-attribute
        setattr(colors, inside, 1)  # refused: computed-attribute
        LineJointType = Square()
        getattr(LineJointType, inside)  # refused: computed-attribute
