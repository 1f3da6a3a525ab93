from manim import *


class Wave(ThreeDScene):
    def construct(self):
        axes = ThreeDAxes(x_range=[-3, 3], y_range=[-3, 3], z_range=[-1, 1])
        wave = Surface(
            lambda u, v: axes.c2p(u, v, 0.6 * np.sin(u) * np.cos(v)),
            u_range=[-3, 3],
            v_range=[-3, 3],
            resolution=(12, 12),
        )
        self.set_camera_orientation(phi=65 * DEGREES, theta=-50 * DEGREES)
        self.play(Create(axes), FadeIn(wave), run_time=1)
        self.move_camera(theta=10 * DEGREES, run_time=2)
