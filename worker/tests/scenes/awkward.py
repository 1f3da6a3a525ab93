"""Scenes whose frames depend on what was before them: what a render in pieces gets wrong first."""

import random

import numpy as np
from manim import *


class RandomInConstruct(Scene):
    def construct(self):
        for _ in range(4):
            dot = Dot(np.random.uniform(-3, 3, 3) * [1, 1, 0], color=random.choice([RED, GREEN, BLUE]))
            self.play(FadeIn(dot, shift=random.random() * UP), run_time=0.6)


class Redraw(Scene):
    def construct(self):
        at = ValueTracker(-3)
        self.add(always_redraw(lambda: Dot([at.get_value(), np.sin(at.get_value()), 0])))
        self.add(always_redraw(lambda: Text(f"{at.get_value():.1f}", font_size=24).to_corner(UL)))
        self.play(at.animate.set_value(3), run_time=8, rate_func=linear)
        self.wait(0.5)


class Moving(MovingCameraScene):
    def construct(self):
        square = Square()
        self.play(Create(square))
        self.play(self.camera.frame.animate.scale(0.5).move_to(square.get_corner(UR)), run_time=4)
        self.play(Restore(self.camera.frame.save_state()), Rotate(square), run_time=1)


class Sections(Scene):
    def construct(self):
        square = Square()
        self.next_section("first")
        self.play(Create(square))
        self.next_section("left out", skip_animations=True)
        self.play(square.animate.shift(LEFT * 2))
        self.next_section("last")
        self.add_subcaption("turning", duration=1)
        self.play(Rotate(square))


class RandomInFrame(Scene):
    def construct(self):
        dot = Dot()
        dot.add_updater(lambda mob: mob.move_to([random.uniform(-3, 3), np.random.uniform(-2, 2), 0]))
        self.add(dot)
        self.play(Create(Circle()))
        self.wait(6)


class Turning(Scene):
    def construct(self):
        square = Square().add_updater(lambda mob, dt: mob.rotate(dt))
        self.add(square)
        self.wait(5)
        self.play(FadeIn(Circle()))


class Spring(Scene):
    def construct(self):
        ball, speed = Dot([3, 0, 0]), [0.0]

        def step(mob, dt):
            speed[0] -= 9 * mob.get_x() * dt
            mob.shift(RIGHT * speed[0] * dt)

        ball.add_updater(step)
        self.add(ball)
        self.play(FadeIn(Square()), run_time=4)
        self.wait(1.2)


class Traced(Scene):
    def construct(self):
        dot = Dot(RIGHT * 2)
        self.add(dot, TracedPath(dot.get_center))
        self.play(Rotating(dot, angle=TAU, about_point=ORIGIN), run_time=5)
        self.play(dot.animate.shift(UP))


class Until(Scene):
    def construct(self):
        dot = Dot(LEFT * 3).add_updater(lambda mob, dt: mob.shift(RIGHT * dt))
        self.add(dot)
        self.wait_until(lambda: dot.get_x() > 1.5, max_time=20)
        dot.clear_updaters()
        self.play(Indicate(dot))


class Clock(Scene):
    def construct(self):
        dot = Dot().add_updater(lambda mob: mob.move_to([np.sin(self.time), np.cos(self.renderer.time), 0]))
        self.add(dot)
        self.wait(2)
        self.play(Create(Square()), run_time=3)


class Ambient(ThreeDScene):
    def construct(self):
        self.set_camera_orientation(phi=70 * DEGREES, theta=20 * DEGREES)
        cube = Cube()
        self.add(cube, ThreeDAxes())
        self.begin_ambient_camera_rotation(0.4)
        self.wait(4)
        self.stop_ambient_camera_rotation()
        self.play(cube.animate.shift(UP), run_time=0.6)
        self.move_camera(phi=30 * DEGREES, run_time=1)


class MovedFromOutside(Scene):
    """A square that stands still for Manim, and is moved by an update of another."""

    def construct(self):
        still, mover = Square(), Dot()
        mover.add_updater(lambda mob, dt: still.shift(RIGHT * dt))
        self.add(still, mover)
        self.play(Create(Circle()), run_time=5)
        self.play(Rotate(mover), run_time=0.5)


class ManyShort(Scene):
    def construct(self):
        dots = VGroup(*[Dot() for _ in range(30)]).arrange()
        for dot in dots:
            self.play(FadeIn(dot), run_time=2 / 15)
        self.wait(3)
        for dot in dots[:10]:
            self.add(dot.set_color(RED))
            self.wait(1 / 15)
        self.play(FadeOut(dots), run_time=6)


class Caught(Scene):
    """Goes on after an animation that failed."""

    def construct(self):
        self.play(Create(Square()))
        try:
            self.play()
        except ValueError:
            self.play(Create(Circle()), run_time=5)
