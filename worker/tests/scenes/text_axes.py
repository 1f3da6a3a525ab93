from manim import *


class TextAxes(Scene):
    def construct(self):
        title = Text("Größe: sin x").to_edge(UP)
        axes = Axes(x_range=[0, 7, 1], y_range=[-1.5, 1.5, 0.5], x_length=8, y_length=4)
        graph = axes.plot(np.sin, color=YELLOW)
        self.play(FadeIn(title), Create(axes), run_time=0.6)
        self.play(Create(graph), run_time=0.6)
        tracker = ValueTracker(0)
        self.add(always_redraw(lambda: Dot(axes.c2p(tracker.get_value(), np.sin(tracker.get_value())))))
        self.play(tracker.animate.set_value(6), run_time=0.6)
