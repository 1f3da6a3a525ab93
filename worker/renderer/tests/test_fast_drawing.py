"""What draws in the place of Manim's functions gives what they give, bit for bit."""

import itertools
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import cairo
import manim
import numpy as np
from manim import Mobject, VGroup, VMobject

from manimq_renderer import fast_drawing

try:
    from .test_fast_paths import STRANGE, same
except ImportError:
    from test_fast_paths import STRANGE, same

SCENES = """
from manim import *

class Axis(ThreeDScene):
    def construct(self):
        axes = ThreeDAxes(x_range=[-2, 2], y_range=[-2, 2], z_range=[-1, 1])
        wave = Surface(lambda u, v: axes.c2p(u, v, np.sin(u * v) / 2), u_range=[-1, 1], v_range=[-1, 1], resolution=4)
        label = Text("here").move_to(axes.c2p(1, 1, 1))
        self.set_camera_orientation(phi=65 * DEGREES, theta=-50 * DEGREES, zoom=0.8)
        self.add_fixed_in_frame_mobjects(Text("fixed", gradient=(RED, BLUE)).to_corner(UL))
        self.add_fixed_orientation_mobjects(label)
        self.play(Create(axes), FadeIn(wave), run_time=0.4)
        self.begin_ambient_camera_rotation(rate=0.5)
        self.play(wave.animate.shift(UP), label.animate.shift(RIGHT), Rotate(axes, 0.3), run_time=0.4)
        self.wait(0.3)

class Solids(ThreeDScene):
    def construct(self):
        self.renderer.camera.light_source.move_to([0, 3, 1])
        at = ValueTracker(0)
        group = VGroup(Cube(side_length=1), Sphere(radius=0.5, resolution=(4, 4)), Torus(resolution=(4, 4)).scale(0.2))
        group.arrange(RIGHT)
        arrow = Arrow3D(LEFT, RIGHT + UP, resolution=4)
        dots = VGroup(*(Dot3D([n / 3, n / 4, n / 5], resolution=(3, 3)) for n in range(4)))
        ring = always_redraw(lambda: Circle(radius=1 + at.get_value(), color=[RED, GREEN]).set_shade_in_3d(True))
        self.set_camera_orientation(phi=1, theta=0.4, gamma=0.2)
        self.add(group, arrow, dots, ring, Square().set_fill(opacity=0).set_sheen(0.4, UR))
        self.play(at.animate.set_value(1), Rotate(group, 1, axis=UP), dots.animate.set_opacity(0.2), run_time=0.4)
        self.play(FadeOut(group), self.camera.phi_tracker.animate.set_value(2.8), run_time=0.4)
"""


def drawing() -> Any:
    """As while a picture is drawn."""
    fast_drawing._picture = fast_drawing._Picture()


def shapes() -> list[VMobject]:
    """Of all kinds, shaded, with points that are no numbers among them."""
    rng = np.random.default_rng(5)
    made: list[VMobject] = [manim.Square(), manim.Line(), manim.Dot3D(resolution=(3, 3))[4], manim.Cube()[0]]
    made.append(VMobject())
    for count in (1, 3, 4, 5, 8, 12, 16, 40, 44):
        for strange in (0, 1, 4):
            points = rng.normal(size=(count, 3)).round(1)
            for _ in range(strange):
                points[rng.integers(0, count), rng.integers(0, 3)] = rng.choice(STRANGE)
            mobject = VMobject()
            mobject.points = points
            made.append(mobject)
    straight = np.outer(np.arange(8.0), [1, 2, 3]), np.outer(np.arange(8.0), [0, 0, 1])
    for flat in (np.zeros((8, 3)), np.ones((16, 3)), *straight):
        mobject = VMobject()
        mobject.points = flat
        made.append(mobject)
    return [mobject.set_shade_in_3d(True) for mobject in made]


def outcome(function: Any, *arguments: Any) -> Any:
    """What it gives, or how it fails."""
    with np.errstate(all="ignore"):
        try:
            return function(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever Manim's own raises
            return np.frombuffer(type(error).__name__.encode(), np.uint8)


class FastDrawing(unittest.TestCase):
    def tearDown(self) -> None:
        fast_drawing._picture = None

    def test_light_falls_as_manim_lets_it_fall(self) -> None:
        camera = manim.ThreeDCamera()
        for light in ([-7, -9, 10], [0, 0, 0], [np.nan, 1, 1], [1e308, 1e308, 1]):
            camera.light_source.points = np.array([light], float)
            for mobject, colours in itertools.product(shapes(), (1, 2, 3)):
                rgbas = np.linspace(0, 1, 4 * colours).reshape(colours, 4)
                theirs = outcome(fast_drawing._any_modified_rgbas, camera, mobject, rgbas)
                fast_drawing._picture = None
                mine = outcome(fast_drawing.modified_rgbas, camera, mobject, rgbas)
                self.assertTrue(same(mine, theirs), (mobject.points, light))
                drawing()
                for _ in "fill", "stroke":
                    mine = outcome(fast_drawing.modified_rgbas, camera, mobject, rgbas)
                    self.assertTrue(same(mine, theirs), (mobject.points, light))

    def test_points_are_projected_as_manim_projects_them(self) -> None:
        rng = np.random.default_rng(6)
        for exponential in (False, True):
            camera = manim.ThreeDCamera(phi=1, theta=0.3, gamma=0.1, zoom=1.7, exponential_projection=exponential)
            for count in (0, 1, 2, 8, 33):
                points = rng.normal(size=(count, 3)) * 30
                points.ravel()[: len(STRANGE)] = STRANGE[: points.size]
                for given in (points, tuple(points) if count else points):
                    theirs = outcome(fast_drawing._any_project, camera, given)
                    self.assertTrue(same(outcome(fast_drawing.project, camera, given), theirs))

    def test_edges_are_where_manim_finds_them(self) -> None:
        directions = [manim.UP, -manim.UR, manim.ORIGIN, [0, -1, 1], (1, 2, -3), np.array([1, 0, 0]), np.full(3, np.nan)]
        for mobject in [*shapes(), VGroup(), VGroup(manim.Square(), manim.Text("a")), manim.ThreeDAxes(), Mobject()]:
            for direction in directions:
                theirs = outcome(fast_drawing._any_critical_point, mobject, direction)
                for once in (None, fast_drawing._Picture()):
                    fast_drawing._picture = once
                    for _ in range(2):
                        mine = outcome(fast_drawing.critical_point, mobject, direction)
                        self.assertTrue(same(mine, theirs), (mobject, direction))
                        if mine.flags.writeable:
                            mine += 1  # it is the caller's own

    def test_a_family_is_manims_own_in_its_order(self) -> None:
        leaf, twice = manim.Square(), manim.Dot()
        shared = VGroup(leaf, twice, VGroup(twice, VGroup(leaf)))
        mobjects = [leaf, VGroup(), shared, manim.Text("ab"), manim.ThreeDAxes()]
        loop = VGroup(twice)
        loop.submobjects.append(VGroup(loop, leaf, loop))

        class Odd(VMobject):
            def _iter_family(self, active_path: Any) -> Any:
                yield leaf

        for mobject in [*mobjects, loop, VGroup(leaf, Odd())]:
            theirs = fast_drawing._any_family(mobject)
            mine = fast_drawing.family(mobject)
            self.assertEqual(list(map(id, mine)), list(map(id, theirs)))

    def test_a_shape_is_filled_as_manim_fills_it(self) -> None:
        many = [manim.RED, manim.BLUE, manim.GREEN]
        for colours, alphas in itertools.product(([manim.RED], many[:2], many), ([0.0], [0.5], [0.0, 1.0], [np.nan])):
            drawn = []
            for colour, fill in (
                (fast_drawing._any_colour, fast_drawing._any_fill),
                (fast_drawing.colour, fast_drawing.fill),
            ):
                pixels = np.full((32, 32, 4), 200, np.uint8)
                surface = cairo.ImageSurface.create_for_data(pixels, cairo.FORMAT_ARGB32, 32, 32)
                ctx, camera = cairo.Context(surface), manim.Camera()
                drawing()
                mobject = manim.Square(side_length=20).shift([8, 8, 0]).set_fill(colours, opacity=alphas)
                camera.set_cairo_context_path(ctx, mobject)
                fill(camera, ctx, mobject)
                colour(camera, ctx, mobject.fill_rgbas, mobject)
                ctx.stroke_preserve()
                source = ctx.get_source()
                stops = source.get_rgba() if isinstance(source, cairo.SolidPattern) else source.get_color_stops_rgba()
                drawn.append((pixels.tobytes(), repr(stops), list(ctx.copy_path())))
            self.assertEqual(drawn[0], drawn[1], (colours, alphas))

    def test_nothing_is_remembered_of_another_picture(self) -> None:
        square = manim.Square()
        square.points = square.points * 1.0
        camera = manim.Camera()
        pixels = np.zeros((camera.pixel_height, camera.pixel_width, 4), np.uint8)
        seen = []

        class Looks(VMobject):
            def get_gradient_start_and_end_points(self) -> Any:
                seen.append(fast_drawing.critical_point(square, manim.UP)[1])
                return np.zeros((2, 3))

        looks = Looks(fill_color=[manim.RED, manim.BLUE], fill_opacity=1).set_points_as_corners(np.eye(3))
        for _ in range(2):
            fast_drawing.draw(camera, [looks], pixels)
            self.assertIsNone(fast_drawing._picture)
            square.points += manim.UP  # in place, as animations do it
        self.assertEqual(seen[-1] - seen[0], 1.0)

    def test_nothing_is_remembered_where_a_scene_says_what_a_center_is(self) -> None:
        camera = manim.ThreeDCamera()
        pixels = np.zeros((camera.pixel_height, camera.pixel_width, 4), np.uint8)
        kept = []

        class Looks(VMobject):
            def get_gradient_start_and_end_points(self) -> Any:
                kept.append(fast_drawing._picture is not None)
                return np.zeros((2, 3))

        looks = Looks(fill_color=[manim.RED, manim.BLUE], fill_opacity=1).set_points_as_corners(np.eye(3))
        camera.add_fixed_orientation_mobjects(looks)
        fast_drawing.draw(camera, [looks], pixels)
        camera.add_fixed_orientation_mobjects(looks, center_func=lambda: looks.shift(manim.UP).get_center())
        fast_drawing.draw(camera, [looks], pixels)
        self.assertEqual(kept, [True, False])

    def test_scenes_in_three_dimensions_have_the_frames_of_the_command(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "scene.py")
            file.write_text(SCENES)
            for name in ("Axis", "Solids"):
                sums = []
                for which in ("bare", "fast"):
                    script = Path(__file__).with_name("raw_frames.py")
                    command = [sys.executable, "-B", script, file, which, "10", "mp4", name]
                    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
                    self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                    sums.append(done.stdout)
                self.assertGreater(len(set(sums[0].splitlines())), 5)
                self.assertEqual(sums[0], sums[1])


if __name__ == "__main__":
    unittest.main()
