from manim import *
from functools import singledispatch
from typing import get_type_hints  # refused: member-not-allowed


@singledispatch
def draw(x):
    pass


@draw.register
def _(x: "eval('print(1)')"):  # refused: forbidden-name
    pass


class Evil(Scene):
    size: "().__class__.__base__" = 1  # refused: dunder-attribute
