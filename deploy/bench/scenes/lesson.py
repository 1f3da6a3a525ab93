from manim import *


class Lesson(Scene):
    """Thirty seconds: a title, a graph with a moving dot, a crowd of squares, many dots, an end."""

    def construct(self):
        title = Text("What a derivative is", font_size=44).to_edge(UP)
        self.play(Write(title))
        axes = Axes(x_range=[-3, 3], y_range=[-1, 9], x_length=7, y_length=4.5).shift(DOWN * 0.5)
        curve = axes.plot(lambda x: x * x, color=YELLOW)
        self.play(Create(axes), run_time=1.5)
        self.play(Create(curve), run_time=1.5)
        at = ValueTracker(-2.5)
        dot = always_redraw(lambda: Dot(axes.c2p(at.get_value(), at.get_value() ** 2), color=RED))
        slope = always_redraw(
            lambda: axes.plot(
                lambda x: 2 * at.get_value() * (x - at.get_value()) + at.get_value() ** 2,
                x_range=[at.get_value() - 0.8, at.get_value() + 0.8],
                color=RED,
            )
        )
        number = always_redraw(lambda: Text(f"{2 * at.get_value():.1f}", font_size=32).to_corner(UR))
        self.play(FadeIn(dot), Create(slope), FadeIn(number))
        for goal in (0, 2.5, 1):
            self.play(at.animate.set_value(goal), run_time=2)
            self.wait(0.5)
        self.play(*[FadeOut(each) for each in (dot, slope, number, axes, curve)])
        squares = VGroup(*[Square(0.5, fill_opacity=0.5) for _ in range(40)]).arrange_in_grid(5, 8, buff=0.2)
        squares.set_color_by_gradient(BLUE, GREEN)
        self.play(LaggedStart(*[GrowFromCenter(each) for each in squares], lag_ratio=0.05), run_time=3)
        self.play(squares.animate.rotate(PI / 4).scale(0.8), run_time=2)
        self.play(FadeOut(squares, shift=DOWN))
        dots = VGroup(*[Dot(2.5 * np.array([np.cos(n), np.sin(n), 0])) for n in range(60)])
        dots.add_updater(lambda group, dt: group.rotate(dt, about_point=ORIGIN))
        self.add(dots)
        self.wait(4)
        dots.clear_updaters()
        self.play(dots.animate.arrange_in_grid(6, 10, buff=0.3), run_time=2)
        end = Text("A slope at a point.", font_size=40)
        self.play(ReplacementTransform(dots, end), run_time=1.5)
        self.wait(2)
        self.play(FadeOut(end), FadeOut(title))
