from manim import *
import numpy as np


class Saddle(ThreeDScene):
    def construct(self):
        axes = ThreeDAxes()
        surface = Surface(
            lambda u, v: axes.c2p(u, v, u**2 - v**2),
            u_range=[-1.5, 1.5],
            v_range=[-1.5, 1.5],
            resolution=(24, 24),
            fill_opacity=0.8,
        )
        surface.set_fill_by_value(axes=axes, colorscale=[(RED, -2), (YELLOW, 0), (GREEN, 2)])
        self.set_camera_orientation(phi=70 * DEGREES, theta=np.deg2rad(30))
        self.begin_ambient_camera_rotation(rate=0.2)
        self.play(Create(axes), Create(surface))
        self.wait(3)
        self.stop_ambient_camera_rotation()
