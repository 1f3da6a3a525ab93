from manim import *

SOURCE = """
import os


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y


print(Point.__name__, eval("1 + 1"), open("notes.txt").read())
"""


class HowClassesWork(Scene):
    """Shows a program. What is shown is text, and `eval`, `os.system` in it run nowhere."""

    def construct(self):
        code = Code(code_string=SOURCE, language="python", background="window")
        title = Text("What does __init__ do?", t2c={"__init__": YELLOW})
        blank = Text("Fill in: ____ = Point(1, 2)")
        VGroup(title, code, blank).arrange(DOWN).scale_to_fit_height(7)
        self.play(Write(title), FadeIn(code))
        self.play(FadeIn(blank))
