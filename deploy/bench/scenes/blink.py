"""The shortest film: what is spent before a share of its time can be."""

from manim import Scene, Text


class Blink(Scene):
    def construct(self):
        self.add(Text("now you see it"))
        self.wait(1 / 15)
