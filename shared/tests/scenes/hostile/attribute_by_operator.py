from manim import *
from operator import attrgetter  # refused: member-not-allowed
import operator


class Evil(Scene):
    def construct(self):
        operator.methodcaller("play")  # refused: member-not-allowed
