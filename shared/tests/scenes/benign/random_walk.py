import numpy as np
from manim import *
from numpy.random import default_rng
from scipy import signal
from scipy.interpolate import CubicSpline
from scipy.stats import norm


class RandomWalk(Scene):
    def construct(self):
        rng = default_rng(seed=1)
        steps = rng.normal(size=(200, 2)) * 0.15
        points = np.column_stack([np.cumsum(steps, axis=0), np.zeros(len(steps))])
        smooth = CubicSpline(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, 800))
        smooth[:, 0] = signal.savgol_filter(smooth[:, 0], 31, 3)
        walk = VMobject().set_points_smoothly(smooth)
        walk.set_color_by_gradient(*color_gradient([BLUE, PURE_GREEN], 3))
        density = np.vectorize(norm.pdf)(points[:, 0])
        with np.printoptions(precision=2):
            print(density.max(), np.finfo(float).eps, points.dtype.name)
        self.play(Create(walk), run_time=6, rate_func=linear)
