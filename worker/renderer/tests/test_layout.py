"""The check of what films show: each kind of fault is told, and what a viewer takes for good is not."""

import tempfile
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

from manim import (
    DOWN,
    LEFT,
    ORIGIN,
    RIGHT,
    UP,
    Circle,
    Create,
    Dot,
    FadeIn,
    FadeOut,
    MovingCameraScene,
    NumberLine,
    Rectangle,
    Scene,
    Square,
    Text,
    ThreeDScene,
    Transform,
    ValueTracker,
    VGroup,
    always_redraw,
    tempconfig,
)

from manimq_renderer import layout
from manimq_renderer.protocol import clean_layout
from manimq_templates import kit

Construct = Callable[[Any], None]


def watched(construct: Construct, base: type[Scene] = Scene, share: float | None = None, **settings: Any) -> Any:
    """The watch of a scene that was played without being written anywhere."""
    with tempfile.TemporaryDirectory() as folder, tempconfig(
        {
            "media_dir": folder,
            "dry_run": True,
            "disable_caching": True,
            "pixel_width": 128,
            "pixel_height": 72,
            "frame_rate": 4,
            "progress_bar": "none",
            "verbosity": "ERROR",
            **settings,
        }
    ):
        scene = type("Watched", (base,), {"construct": construct})()
        watch = layout.Watch(scene, share)
        scene.render()
        _ = watch.warnings
    if not isinstance(layout.Picture, mock.Mock):
        assert watch.failed is None, watch.failed
    return watch


def kinds(construct: Construct, **settings: Any) -> list[str]:
    return [warning["kind"] for warning in watched(construct, **settings).warnings]


class OutsideOfTheFrame(unittest.TestCase):
    def test_a_title_that_is_too_wide_is_told_with_its_words_and_its_edge(self) -> None:
        def construct(scene: Scene) -> None:
            scene.add(Text("A title that is far too wide for this film").scale_to_fit_width(16))
            scene.wait()

        [warning] = watched(construct).warnings
        self.assertEqual((warning["kind"], warning["at_s"]), ("outside_frame", 1.0))
        self.assertRegex(warning["message"], "^the text “A title that .*…” is cut off at the (left|right) edge")

    def test_a_list_that_runs_out_of_the_frame_is_told(self) -> None:
        def construct(scene: Scene) -> None:
            scene.add(VGroup(*(Text(f"line {n}") for n in range(12))).arrange(DOWN).to_edge(UP))
            scene.wait()

        messages = [warning["message"] for warning in watched(construct).warnings]
        self.assertTrue(any("outside of the picture" in message for message in messages), messages)

    def test_a_square_that_is_cut_off_is_told_and_a_background_is_not(self) -> None:
        def cut(scene: Scene) -> None:
            scene.play(FadeIn(Square().move_to([7, 0, 0])))

        def background(scene: Scene) -> None:
            scene.add(Rectangle(width=16, height=9, fill_opacity=1), Circle(radius=12))
            scene.wait()

        self.assertEqual(kinds(cut), ["outside_frame"])
        self.assertEqual(kinds(background), [])

    def test_what_comes_in_or_leaves_over_the_edge_is_no_fault(self) -> None:
        def construct(scene: Scene) -> None:
            text = Text("moving").shift(8 * LEFT)
            scene.add(text, Dot())
            scene.play(text.animate.move_to(ORIGIN))
            scene.wait()
            scene.play(text.animate.shift(9 * RIGHT))
            scene.remove(text)
            scene.wait()

        self.assertEqual(kinds(construct), [])

    def test_a_camera_that_travels_is_not_judged_by_where_it_began(self) -> None:
        def construct(scene: Any) -> None:
            scene.add(Text("here"), Text("there").shift(7 * RIGHT))
            scene.wait()
            scene.play(scene.camera.frame.animate.shift(7 * RIGHT).scale(0.5))

        self.assertEqual(kinds(construct, base=MovingCameraScene), [])

    def test_in_three_dimensions_only_what_is_fixed_in_the_frame_is_judged(self) -> None:
        def construct(scene: Any) -> None:
            scene.set_camera_orientation(phi=1, theta=0.5)
            scene.add(Text("in space").shift(9 * RIGHT))
            label = Text("a label").shift(7.1 * RIGHT)
            scene.add_fixed_in_frame_mobjects(label)
            scene.wait()

        [warning] = watched(construct, base=ThreeDScene).warnings
        self.assertIn("a label", warning["message"])

    def test_numbers_of_an_axis_that_goes_on_are_no_fault(self) -> None:
        def construct(scene: Scene) -> None:
            axis = NumberLine([-20, 20, 1])
            axis.add(VGroup(*(Text(str(n), font_size=20).move_to(axis.n2p(n)) for n in range(-20, 21, 4))))
            scene.add(axis)
            scene.wait()

        self.assertEqual(kinds(construct), [])


class TextOnText(unittest.TestCase):
    def test_two_texts_at_one_place_are_told_once(self) -> None:
        def construct(scene: Scene) -> None:
            scene.play(FadeIn(Text("first words")))
            scene.play(FadeIn(Text("other words").shift(0.1 * UP)))
            scene.wait(2)
            scene.wait(2)

        [warning] = watched(construct).warnings
        self.assertEqual((warning["kind"], warning["at_s"]), ("text_overlap", 2.0))
        self.assertIn("“first words” and “other words”", warning["message"])

    def test_a_card_between_two_texts_parts_them(self) -> None:
        def construct(scene: Scene) -> None:
            scene.add(Text("below"), Rectangle(fill_opacity=1, fill_color="#000000"), Text("above"))
            scene.wait()

        self.assertEqual(kinds(construct), [])

    def test_texts_that_pass_or_are_replaced_are_no_fault(self) -> None:
        def construct(scene: Scene) -> None:
            one, other = Text("one").shift(LEFT), Text("other").shift(2 * RIGHT)
            scene.add(one, other)
            scene.play(one.animate.move_to(other))
            scene.play(FadeOut(one))
            scene.play(Transform(other, Text("a third")))
            scene.wait()

        self.assertEqual(kinds(construct), [])

    def test_a_text_that_became_a_square_is_none_any_more(self) -> None:
        def construct(scene: Scene) -> None:
            text = Text("square")
            scene.play(Transform(text, Square(side_length=3)))
            scene.play(FadeIn(Text("label")))
            scene.wait()

        self.assertEqual(kinds(construct), [])

    def test_a_group_that_fades_in_is_no_text_but_the_texts_in_it_are(self) -> None:
        def construct(scene: Scene) -> None:
            card = VGroup(Square(), Text("tiny", font_size=7))
            scene.play(FadeIn(card, shift=UP))
            scene.play(card.animate.scale(0.9))
            scene.wait()

        self.assertEqual(kinds(construct), ["too_small"])

    def test_neighbours_and_faint_texts_are_no_fault(self) -> None:
        def construct(scene: Scene) -> None:
            scene.add(VGroup(Text("fgj"), Text("yjf")).arrange(RIGHT, buff=0.02))
            scene.add(Text("watermark").set_opacity(0.1))
            scene.wait()

        self.assertEqual(kinds(construct), [])


class TooSmall(unittest.TestCase):
    def test_letters_are_measured_in_pixels_of_the_output(self) -> None:
        def small(scene: Scene) -> None:
            scene.add(Text("a footnote", font_size=9))
            scene.wait()

        self.assertEqual(kinds(small, pixel_width=854, pixel_height=480), ["too_small"])
        self.assertEqual(kinds(small, pixel_width=1920, pixel_height=1080), [])

    def test_a_dash_is_not_judged_by_its_height(self) -> None:
        def construct(scene: Scene) -> None:
            scene.add(Text("–"))
            scene.wait()

        self.assertEqual(kinds(construct), [])

    def test_a_lone_sign_is_judged_by_the_size_of_the_text_that_it_stands_in(self) -> None:
        def row(size: float, weight: str) -> Construct:
            def construct(scene: Any) -> None:
                for up, sign in enumerate("=+−–-·•:×≈"):
                    made = kit.text(kit.Theme.of({}), sign, size, weight=weight)
                    made.original_text = sign
                    scene.add(made.shift([0, up / 2 - 2, 0]))
                scene.wait()

            return construct

        for weight in ("NORMAL", "BOLD"):
            self.assertEqual(kinds(row(18, weight)), [], weight)
            self.assertEqual(kinds(row(7, weight)), ["too_small"] * 10, weight)


class NothingToSee(unittest.TestCase):
    def test_an_empty_end_is_told_and_a_breath_after_a_fade_is_not(self) -> None:
        def with_wait(seconds: float) -> Construct:
            def construct(scene: Scene) -> None:
                square = Square()
                scene.play(Create(square))
                scene.play(FadeOut(square))
                scene.wait(seconds)

            return construct

        [warning] = watched(with_wait(3)).warnings
        self.assertEqual((warning["kind"], warning["at_s"]), ("blank_end", 2.0))
        self.assertEqual(kinds(with_wait(1)), [])

    def test_a_background_may_be_named_as_people_name_colours(self) -> None:
        def construct(scene: Any) -> None:
            scene.camera.background_color = "#ffffff"
            scene.add(Square(color="#ffffff"))
            scene.wait()

        self.assertEqual(kinds(construct), ["blank_end"])

    def test_a_film_with_nothing_on_it_is_told(self) -> None:
        def black_on_black(scene: Scene) -> None:
            scene.add(Square(color="#000000"))
            scene.wait()

        self.assertEqual(kinds(lambda scene: scene.wait()), ["blank_end"])
        self.assertEqual(kinds(black_on_black), ["blank_end"])

    def test_nine_seconds_without_change_are_told_and_eight_are_not(self) -> None:
        def waits(*seconds: float) -> Construct:
            def construct(scene: Scene) -> None:
                scene.add(Square())
                for each in seconds:
                    scene.wait(each)

            return construct

        self.assertEqual(kinds(waits(8)), [])
        [warning] = watched(waits(5, 4.25)).warnings
        self.assertEqual(warning["message"], "nothing changes for 9.2 seconds")

    def test_what_moves_by_itself_while_waiting_is_not_frozen(self) -> None:
        def construct(scene: Scene) -> None:
            dot = Dot()
            dot.add_updater(lambda mobject, dt: mobject.shift(0.01 * dt * RIGHT))
            scene.add(dot)
            scene.wait(10)

        self.assertEqual(kinds(construct), [])

    def test_what_is_redrawn_without_a_change_is_frozen(self) -> None:
        def construct(scene: Scene) -> None:
            tracker = ValueTracker(1)
            scene.add(always_redraw(lambda: Circle(radius=tracker.get_value())))
            scene.wait(10)

        self.assertEqual(kinds(construct), ["frozen"])

    def test_a_change_between_two_waits_counts(self) -> None:
        def construct(scene: Scene) -> None:
            square = Square()
            scene.add(square)
            scene.wait(5)
            square.shift(RIGHT)
            scene.wait(5)

        self.assertEqual(kinds(construct), [])


class Harmless(unittest.TestCase):
    def test_a_scene_that_breaks_the_look_is_rendered_all_the_same(self) -> None:
        def construct(scene: Scene) -> None:
            scene.add(Square())
            scene.wait(2)
            scene.wait()
            scene.ended = True

        with mock.patch("manimq_renderer.layout.Picture", side_effect=RuntimeError("no")):
            watch = watched(construct)
        self.assertTrue(watch._scene.ended)
        self.assertIn("no", watch.failed)
        self.assertEqual(watch.warnings, [])

    def test_a_look_changes_nothing_of_the_scene(self) -> None:
        states: list[Any] = []

        def construct(scene: Scene) -> None:
            group = VGroup(Text("one"), Square(), Circle())
            scene.add(group)
            before = [(id(each), each.points.tobytes(), len(each.updaters)) for each in group.get_family()]
            scene.wait()
            after = [(id(each), each.points.tobytes(), len(each.updaters)) for each in group.get_family()]
            states.extend([before, after, scene.mobjects[0] is group])

        watched(construct)
        self.assertEqual(states[0], states[1])
        self.assertTrue(states[2])

    def test_without_time_nothing_but_the_end_is_looked_at(self) -> None:
        def construct(scene: Scene) -> None:
            text = Text("x" * 60)
            scene.add(text)
            for _ in range(300):
                scene.wait(0.25)
            scene.remove(text)
            scene.add(Square())
            scene.wait(0.25)

        watch = watched(construct, share=0.0)
        self.assertLess(watch._looks, 300)
        self.assertLessEqual(len(watch.warnings), layout.WARNINGS_MAX)

    def test_a_look_at_a_heap_of_texts_compares_no_more_than_its_bound(self) -> None:
        def construct(scene: Scene) -> None:
            for n in range(60):
                scene.add(Text(f"the words of number {n}").shift([0.01 * n, 0.01 * n, 0]))
            scene.wait()

        compared: list[int] = []

        def collide(picture: Any, one: Any, other: Any) -> bool:
            compared.append(len(one.leaves) * len(other.leaves))
            return False

        with mock.patch.object(layout, "_collide", collide):
            watch = watched(construct)
        looks = watch._looks
        self.assertEqual(len(compared), looks * layout._PAIRS_MAX)
        with mock.patch.object(layout, "_collide", collide), mock.patch.object(layout, "_GLYPH_PAIRS_MAX", 1000):
            compared.clear()
            watched(construct)
        self.assertTrue(0 < sum(compared) <= 1000 * looks)

    def test_a_scene_has_at_most_sixteen_warnings_without_control_characters(self) -> None:
        def construct(scene: Scene) -> None:
            for n in range(30):
                scene.add(Text(f"\u202ebad {n}").shift([7, n / 5 - 3, 0]))
            scene.wait()

        warnings = watched(construct).warnings
        self.assertEqual(len(warnings), layout.WARNINGS_MAX)
        self.assertTrue(all("\u202e" not in str(warning) for warning in warnings))

    def test_of_what_a_job_says_only_known_kinds_and_bounded_texts_are_believed(self) -> None:
        good = {"kind": "frozen", "at_s": 1.5, "message": "nothing\x1b[2J changes"}
        bad: list[Any] = [{"kind": "root"}, {"kind": ["frozen"], "message": "m"}, 7, {"kind": "frozen"}]
        [told] = clean_layout([*bad, good])
        self.assertEqual(told, {"kind": "frozen", "at_s": 1.5, "message": "nothing\\u{1b}[2J changes"})
        many = clean_layout([{"kind": "frozen", "at_s": -1, "message": "é" * 9999}] * 99)
        self.assertEqual((len(many), len(many[0]["message"]), many[0]["at_s"]), (16, 250, 0.0))
        for hostile in (None, "text", {"kind": "frozen"}, 3):
            self.assertEqual(clean_layout(hostile), [])


class Templates(unittest.TestCase):
    def test_their_own_texts_are_read_like_manims(self) -> None:
        from manimq_templates import kit

        def construct(scene: Scene) -> None:
            theme = kit.Theme.of({})
            scene.add(kit.text(theme, "one text"), kit.text(theme, "another text", 9).shift(2 * UP))
            scene.add(kit.text(theme, "words upon it"))
            scene.wait()

        self.assertEqual(sorted(set(kinds(construct))), ["text_overlap", "too_small"])
