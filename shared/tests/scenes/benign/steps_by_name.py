from manim import *


class Lesson(Scene):
    steps = 3
    CONFIG = {"speed": 1.0, "accent": YELLOW}

    def setup(self):
        for key, value in self.CONFIG.items():
            setattr(self, key, value)

    def construct(self):
        for n in range(1, self.steps + 1):
            getattr(self, f"step_{n}")()
        if hasattr(self, "__len__"):
            self.wait(len(self))
        getattr(self, "outro", self.wait)()

    def step_1(self):
        self.play(Write(Text("One", color=getattr(self, "accent"))))

    def step_2(self):
        self.play(Write(Text("Two").shift(DOWN)))

    def step_3(self):
        self.play(*[FadeOut(mobject) for mobject in self.mobjects])
