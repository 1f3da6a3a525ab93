"""The sample that `manimq up` renders on its first start."""

from manim import *


class HelloManimq(Scene):
    def construct(self):
        title = Text("Hello, manimq", weight=BOLD).scale(1.1).to_edge(UP, buff=0.9)
        title.set_color_by_gradient(BLUE_B, TEAL_C)

        figure = RegularPolygon(3, color=YELLOW, fill_opacity=0.4).scale(1.4)
        orbit = Circle(radius=2.1, color=BLUE_D, stroke_opacity=0.5)
        moon = Dot(orbit.point_from_proportion(0), color=WHITE)
        VGroup(figure, orbit, moon).shift(0.6 * DOWN)

        self.play(Write(title), Create(orbit), GrowFromCenter(figure), FadeIn(moon), run_time=1.2)
        for sides, color in [(4, GREEN), (6, BLUE), (60, PURPLE)]:
            shape = RegularPolygon(sides, color=color, fill_opacity=0.4).scale(1.4)
            shape.move_to(orbit.get_center())
            self.play(
                Transform(figure, shape),
                MoveAlongPath(moon, orbit, rate_func=smooth),
                run_time=1.1,
            )
        done = Text("your scenes next", font_size=30, color=GRAY_A)
        done.next_to(orbit, DOWN, buff=0.3)
        self.play(FadeIn(done, shift=0.2 * UP), Indicate(figure, color=PURPLE_B), run_time=0.8)
        self.wait(0.5)
