from manim import *


class Graph(Scene):
    def construct(self):
        title = Text("Sine and cosine").to_edge(UP)
        axes = Axes(x_range=[-5, 5], y_range=[-2, 2], x_length=10, y_length=4.5)
        sine = axes.plot(lambda x: np.sin(x), color=YELLOW)
        cosine = axes.plot(lambda x: np.cos(x), color=TEAL)
        x = ValueTracker(-5)
        dot = always_redraw(lambda: Dot(axes.c2p(x.get_value(), np.sin(x.get_value()))))
        self.play(Write(title), Create(axes))
        self.play(Create(sine), Create(cosine), run_time=2)
        self.play(FadeIn(dot))
        self.play(x.animate.set_value(5), run_time=4)
        self.wait()
