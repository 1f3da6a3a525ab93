from math import cos, sin, tau

from manim import *


class UnitCircle(Scene):
    def construct(self):
        angle = ValueTracker(0)
        circle = Circle(radius=2)
        dot = always_redraw(lambda: Dot(circle.point_at_angle(angle.get_value())))
        number = DecimalNumber(0, num_decimal_places=2).to_corner(UL)
        number.add_updater(lambda m: m.set_value(sin(angle.get_value())))
        label = always_redraw(
            lambda: MathTex(rf"\theta = {angle.get_value():.2f}", rf"\cos\theta = {cos(angle.get_value()):.2f}")
            .arrange(DOWN)
            .to_corner(UR)
        )
        trace = TracedPath(dot.get_center, stroke_color=YELLOW, dissipating_time=0.5)
        self.add(circle, dot, number, label, trace)
        self.play(angle.animate.set_value(tau), run_time=4, rate_func=rate_functions.ease_in_out_sine)
        for mobject in self.mobjects:
            mobject.clear_updaters()
