from manim import *
import os  # refused: import-not-allowed


class Evil(Scene):
    def construct(self):
        os.system("id")
