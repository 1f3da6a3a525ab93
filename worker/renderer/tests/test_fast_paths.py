"""What takes the place of Manim's functions gives what they give, bit for bit."""

import copy
import itertools
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import cairo
import manim
import numpy as np
import svgelements
from manim import VMobject

from manimq_renderer import fast_paths

STRANGE = (
    *(0.0, -0.0, 1e-7, -1e-6, 1e-6, 1.0, 1.000001, 1.00002, -1.0),
    *(1e300, -1e308, 1e308, math.inf, -math.inf, math.nan),
)

SCENE = """
from manim import *

class Everything(ThreeDScene):
    def construct(self):
        words = Text("a slope at a point 12", gradient=(RED, BLUE)).to_edge(UP)
        at = ValueTracker(0)
        again = always_redraw(lambda: Text(f"{at.get_value():.0f}", color="#ff8800").to_corner(UL))
        donut = AnnularSector(fill_opacity=0.4, sheen_factor=0.3).shift(LEFT * 3)
        dotted = DashedVMobject(Circle(color=[RED, GREEN]), num_dashes=30)
        surface = Surface(lambda u, v: [u, v, u * v / 2], u_range=[-1, 1], v_range=[-1, 1], resolution=(3, 3))
        surface.shift(RIGHT * 3)
        self.add(again, dotted, surface, ThreeDAxes(x_range=[-1, 1], y_range=[-1, 1], z_range=[-1, 1]).scale(0.3))
        self.play(Write(words), at.animate.set_value(3), run_time=0.4)
        self.play(Transform(words, donut), TransformMatchingShapes(dotted, Star(fill_opacity=1)), run_time=0.4)
        self.play(words.animate.set_opacity(0.3).set_stroke(YELLOW, 6).set_sheen(0.5, UR), run_time=0.3)
        self.move_camera(phi=60 * DEGREES, theta=30 * DEGREES, run_time=0.3)
        other = words.copy().set_fill([RED, BLUE], opacity=[0.2, 0.9]).shift(DOWN)
        self.play(FadeIn(other), ApplyMethod(words.become, other.copy().shift(UP)), run_time=0.3)
"""


def same(one: Any, other: Any) -> bool:
    """Equal in shape, type and every bit (a NaN as itself)."""
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def paths(rng: np.random.Generator) -> Any:
    """Paths of any length, whole or not, with curves that join and some that nearly do or are no numbers."""
    for count in [*range(0, 30), 157, 158, 160, 164, 400]:
        for _ in range(4):
            points = rng.normal(size=(count, 3)).round(1)
            for n in range(4, count, 4):
                kind = rng.integers(0, 5)
                if kind:
                    points[n] = points[n - 1] + (0, 0, 9e-7, 2e-6)[kind - 1]
                elif rng.random() < 0.3:
                    points[n, rng.integers(0, 3)] = rng.choice(STRANGE)
                    points[n - 1, rng.integers(0, 3)] = rng.choice(STRANGE)
            yield points


class FastPaths(unittest.TestCase):
    def test_two_points_are_equal_when_numpy_says_so(self) -> None:
        mobject = VMobject()
        with np.errstate(all="ignore"):
            for one, other in itertools.product(STRANGE, repeat=2):
                for at in range(3):
                    p0, p1 = np.full(3, 0.5), np.full(3, 0.5)
                    p0[at], p1[at] = one, other
                    theirs = fast_paths._any_points_equal(mobject, p0, p1)
                    self.assertEqual(fast_paths.points_equal(mobject, p0, p1), theirs, (p0, p1))
        many = np.zeros((4, 3))
        self.assertTrue(fast_paths.points_equal(mobject, many, many[0]))
        self.assertTrue(fast_paths.points_equal(mobject, [0, 0, 0], (0, 0, 0)))

    def test_a_path_is_cut_where_manim_cuts_it(self) -> None:
        mobject = VMobject()
        for points in paths(np.random.default_rng(3)):
            for dims in (2, 3):
                theirs = fast_paths._any_split_indices(mobject, points, dims)
                self.assertTrue(same(fast_paths.split_indices(mobject, points, dims), theirs), points)
            mine, theirs = fast_paths.subpaths(mobject, points), fast_paths._any_subpaths(mobject, points)
            self.assertEqual(len(mine), len(theirs))
            self.assertTrue(all(same(a, b) for a, b in zip(mine, theirs, strict=True)))

    def test_cairo_gets_the_path_that_manim_gives_it(self) -> None:
        camera = manim.Camera()
        for points in paths(np.random.default_rng(4)):
            if not np.isfinite(points).all():
                continue
            mobject = VMobject()
            mobject.points = points
            drawn = []
            for draw in (fast_paths._any_context_path, fast_paths.context_path):
                ctx = cairo.Context(cairo.ImageSurface(cairo.FORMAT_ARGB32, 8, 8))
                draw(camera, ctx, mobject)
                drawn.append(list(ctx.copy_path()))
            self.assertEqual(drawn[0], drawn[1])

    def test_colours_become_the_numbers_that_manim_makes_of_them(self) -> None:
        colours = [None, manim.RED, manim.ManimColor("#12345678"), "#fff", "RED", [manim.RED, manim.BLUE]]
        colours.append(manim.HSV((0.1, 0.5, 0.7)))
        opacities = [None, 0, 1, 0.25, [0.1, 0.9], np.float64(0.5), True]
        for colour, opacity, sheen in itertools.product(colours, opacities, (0.0, 0.4)):
            made = []
            for generate, update in (
                (fast_paths._any_rgbas, fast_paths._any_update_rgbas),
                (fast_paths.rgbas, fast_paths.update_rgbas),
            ):
                mobject = VMobject(fill_color=manim.GREEN, fill_opacity=0.5)
                mobject.sheen_factor = sheen
                array = generate(mobject, colour, opacity)
                update(mobject, "fill_rgbas", colour, opacity)
                update(mobject, "of_its_own", colour, opacity)
                made.append((array, mobject.fill_rgbas, mobject.of_its_own))
            for mine, theirs in zip(*made, strict=True):
                self.assertTrue(same(mine, theirs), (colour, opacity, sheen, mine, theirs))

    def test_the_boundary_of_a_family_is_its_anchors(self) -> None:
        for mobject in (
            manim.VGroup(),
            manim.VGroup(manim.Square(), manim.VGroup(), manim.Circle()),
            manim.Text("ab"),
            manim.VGroup(VMobject().start_new_path(np.ones(3)), manim.Dot()),
            manim.ThreeDAxes(),
            manim.Sphere(resolution=(3, 3)),
        ):
            self.assertTrue(same(fast_paths.boundary(mobject), fast_paths._any_boundary(mobject)), mobject)

    def test_a_copy_shares_nothing_and_keeps_what_its_parts_share(self) -> None:
        fast_paths.install()
        mobject = manim.VGroup(manim.Text("ab"), manim.Square())
        mobject.alias = mobject[1].points
        mobject.loop = mobject
        twin = copy.deepcopy(mobject)
        self.assertIs(twin.loop, twin)
        self.assertIs(twin.alias, twin[1].points)
        self.assertIsNot(twin[1].points, mobject[1].points)
        self.assertIsNot(twin[1].color, mobject[1].color)
        self.assertEqual(twin[1].color, mobject[1].color)
        path, other = mobject[0][0].path_obj, twin[0][0].path_obj
        self.assertIsNot(path, other)
        self.assertEqual(path, other)
        self.assertEqual(path.__dict__.keys(), other.__dict__.keys())
        self.assertIsNot(path[1].end, other[1].end)

    def test_equal_texts_are_read_once_and_are_two_texts(self) -> None:
        fast_paths.install()
        with mock.patch.object(svgelements.SVG, "parse", side_effect=svgelements.SVG.parse) as parse:
            first, second, other = manim.Text("read once"), manim.Text("read once"), manim.Text("read twice")
        self.assertEqual(parse.call_count, 2)
        self.assertTrue(all(same(a.points, b.points) for a, b in zip(first, second, strict=True)))
        self.assertEqual(len(other), len("readtwice"))
        before = second[0].points.copy()
        first.shift(manim.RIGHT)
        self.assertTrue(same(second[0].points, before))

    def test_a_class_of_the_scene_is_copied_as_it_says(self) -> None:
        fast_paths.install()

        class Counted(manim.ManimColor):
            def __getstate__(self) -> dict[str, Any]:
                return {**self.__dict__, "copies": getattr(self, "copies", 0) + 1}

        self.assertEqual(copy.deepcopy(Counted("#123456")).copies, 1)

    def test_the_shelf_of_svgs_has_a_bound(self) -> None:
        shelf = fast_paths._SvgShelf()
        for n in range(fast_paths._SVG_MAX + 9):
            shelf.parse(b'<svg><rect width="%d" height="1"/></svg>' % n)
        self.assertEqual(len(shelf._read), fast_paths._SVG_MAX)
        self.assertEqual(shelf._bytes, sum(map(len, shelf._read)))

    def test_another_manim_is_refused(self) -> None:
        fast_paths.install()
        ours = VMobject.get_subpaths_from_points
        try:
            VMobject.get_subpaths_from_points = lambda self, points, more: []
            with self.assertRaisesRegex(RuntimeError, "get_subpaths_from_points takes"):
                fast_paths.install()
        finally:
            VMobject.get_subpaths_from_points = ours

    def test_a_scene_of_everything_has_the_frames_of_the_command(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "scene.py")
            file.write_text(SCENE)
            sums = []
            for which in ("bare", "fast"):
                command = [sys.executable, "-B", Path(__file__).with_name("raw_frames.py"), file, which, "10", "mp4"]
                done = subprocess.run([*command, "Everything"], cwd=folder, capture_output=True, text=True, timeout=300)
                self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                sums.append(done.stdout)
        self.assertGreater(len(sums[0].splitlines()), 15)
        self.assertEqual(sums[0], sums[1])


if __name__ == "__main__":
    unittest.main()
