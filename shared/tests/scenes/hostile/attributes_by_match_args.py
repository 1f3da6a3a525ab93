from manim import *
class Reader:
    __match_args__ = ("__globals__",)  # refused: dunder-attribute
