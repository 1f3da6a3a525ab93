from manim import *

vars = VGroup()
inputs = {"input": 3}


def compile(*, input, eval=None):
    """Names of one's own may be called as builtins are."""
    return input if eval is None else eval(input)


class Machine(Scene):
    def construct(self):
        input = MathTex("x")
        output = MathTex("f(x)").next_to(input, RIGHT, buff=3)
        exec, quit = Dot(), Dot()
        utils = VGroup(input, output, exec, quit)
        for vars in utils:
            self.play(FadeIn(vars))
        scene = compile(input=2, eval=lambda open: open * 2)
        self.camera.open = [exit for exit in (exec, quit)]
        self.play(self.compile(utils), run_time=scene)

    def compile(self, mobject, **input):
        input.setdefault("shift", UP)
        return FadeOut(mobject, shift=input["shift"])
