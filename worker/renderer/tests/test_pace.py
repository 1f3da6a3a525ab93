"""Pace: what a film says stays up long enough to be read. Films are played without pictures, against their own clock."""

import re
import sys
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from manim import Rectangle, Scene, VGroup, tempconfig
from manim.renderer.cairo_renderer import CairoRenderer

sys.path.insert(0, str(Path(__file__).resolve().parent))

import manimq_templates as catalogue  # noqa: E402
from manimq_templates import kit  # noqa: E402
from manimq_templates.kit.layout import set_frame  # noqa: E402
from manimq_templates.kit.scene import texts as kit_text  # noqa: E402
from resolve import resolved_fixture  # noqa: E402


class _Unseen(CairoRenderer):
    """Draws nothing, not even what stands still."""

    def update_frame(self, *arguments: Any, **more: Any) -> None:
        pass

    def save_static_frame_data(self, *arguments: Any, **more: Any) -> None:
        self.static_image = None

    def get_frame(self) -> Any:
        return self.camera.pixel_array


@dataclass
class Shown:
    """A text, and how long it is up, in seconds at normal pace."""

    text: str
    from_s: float
    seconds: float
    caption: bool


def _box(written: str, size: float, *look: Any) -> tuple[VGroup, float]:
    return VGroup(Rectangle(width=max(0.01, 0.007 * size * len(written)), height=0.012 * size)), 0.012 * size


def _formula(scene: Any, *written: str, width: float = 1e3, height: float = 1e3, **more: Any) -> VGroup:
    parts = VGroup(*(VGroup(Rectangle(width=0.1 * max(1, min(20, len(each))), height=0.4)) for each in written)).arrange(buff=0.05)
    parts.tex_string = " ".join(written)
    return kit.fit(parts, kit.Box(0, 0, min(width, 1e3), min(height, 1e3)), at=None)


def played(template: str, params: dict[str, Any]) -> tuple[list[Shown], float, float]:
    """What a film says, without what its user wrote in the place of captions; its length, and the declared one."""
    set_frame()
    scene = catalogue.load(template, params)(renderer=_Unseen(skip_animations=True))
    said: list[Shown] = []
    up: dict[int, Shown] = {}
    kept: list[Any] = []  # or another would get the number of one that is gone
    captions, play, clear = kit.TemplateScene._captions, Scene.play, kit.TemplateScene.clear_stage

    def gone(each: Shown) -> None:
        each.seconds = (scene.time - each.from_s) / scene.pace

    def change(it: Any, own: str, run_time: float) -> list[Any]:
        over()
        changes = captions(it, own, run_time)
        if it.has_captions and it._own_captions is None and own:
            said.append(Shown(own, scene.time, -1.0, True))
        return changes

    def over() -> None:
        for each in said:
            if each.caption and each.seconds < 0:
                gone(each)

    def cleared(it: Any, *arguments: Any, **more: Any) -> None:
        over()
        clear(it, *arguments, **more)

    def noted(it: Scene, *arguments: Any, **more: Any) -> None:
        began = it.time
        play(it, *arguments, **more)
        there = {id(part): part for each in it.mobjects for part in each.get_family() if hasattr(part, "original_text")}
        for number, part in there.items():
            if number not in up and len(part.original_text) >= 12:
                kept.append(part)
                up[number] = Shown(part.original_text, began, -1.0, False)
        for number, each in up.items():
            if number not in there and each.seconds < 0:
                each.seconds = (began - each.from_s) / it.pace

    with (
        mock.patch.object(kit_text, "one_line", _box),
        mock.patch.object(kit.TemplateScene, "tex", _formula),
        mock.patch.object(kit.TemplateScene, "_captions", change),
        mock.patch.object(kit.TemplateScene, "clear_stage", cleared),
        mock.patch.object(Scene, "play", noted),
    ):
        scene.construct()
        over()
    for each in up.values():
        if each.seconds < 0:
            gone(each)
    return _told(said, list(up.values())), scene.time, type(scene).declared_seconds()


def _told(captions: list[Shown], texts: list[Shown]) -> list[Shown]:
    """Without what is there twice, and without counters: texts of which only numbers change."""
    seen = {each.text for each in captions}
    told = list(captions)
    for each in texts:
        form = re.sub(r"[\d.,−-]+", "#", each.text)
        if each.text not in seen and form not in seen:
            told.append(each)
        seen.add(form)
    return told


HURRIED = ("graph-algorithm", "tree-structure")
"""With many steps these go by faster than one can read every word: captions of one form, whose names and numbers change."""
SLOW_TO_BUILD = {("code-walkthrough", "maximal")}
"""Ten seconds for the letters of its code, whose notes are as the default's."""


class Pace(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="pace-")
        self.addCleanup(folder.cleanup)
        with_config = tempconfig({"media_dir": folder.name, "verbosity": "ERROR", "progress_bar": "none", "frame_rate": 60})
        with_config.__enter__()
        self.addCleanup(with_config.__exit__, None, None, None)
        kit_text.measure.cache_clear()
        self.addCleanup(kit_text.measure.cache_clear)

    def test_whatever_a_film_says_is_up_long_enough_to_be_read_and_the_film_is_as_long_as_declared(self) -> None:
        captions = 0
        for template in catalogue.ids():
            for fixture in ("minimal", "default", "maximal"):
                if (template, fixture) in SLOW_TO_BUILD:
                    continue
                with self.subTest(f"{template} {fixture}"):
                    # Subtitles may have 25 characters a second; and half as many again while the eye looks for what changed.
                    rate = 40 if fixture == "maximal" and template in HURRIED else 25
                    told, seconds, declared = played(template, resolved_fixture(template, fixture))
                    brief = [
                        f"{each.seconds:.2f} s for {len(each.text)} characters: {each.text:.60}"
                        for each in told
                        if each.seconds < 0.25 + len(each.text) / rate - 1e-6
                    ]
                    self.assertEqual(brief, [])
                    self.assertAlmostEqual(seconds, declared, delta=0.02 * declared)
                    captions += sum(each.caption for each in told)
        self.assertGreater(captions, 200)

    def test_numbers_with_many_digits_are_up_long_enough_and_the_declared_length_follows(self) -> None:
        long = [-1234.567891, 1234.567891, 2345.678912, 3456.789123, 4567.891234, 5678.912345, 6789.123456, 7891.234567]
        for template, params in (
            ("array-search", {"algorithm": "linear", "array": long * 2, "target": 7891.234567}),
            ("array-search", {"algorithm": "binary", "array": long, "target": 9000}),
            ("number-line", {"start": -123456789.125, "jumps": [98765432.0625, -12345678.5, 0.0009765625]}),
        ):
            with self.subTest(template):
                told, seconds, declared = played(template, params)
                late = [each.text for each in told if each.caption and each.seconds < 0.25 + len(each.text) / 25 - 1e-6]
                self.assertEqual(late, [])
                self.assertTrue(any(len(each.text) > 20 for each in told))
                self.assertAlmostEqual(seconds, declared, delta=0.02 * declared)

    def test_a_caption_comes_at_the_beginning_of_a_long_play(self) -> None:
        """Half a second into it the line stands, though what it announces takes three."""
        scene = catalogue.load("title-card", {"title": "x"})(renderer=_Unseen(skip_animations=True))
        scene.begin({})
        scene.has_captions = True
        scene.say("First")
        out, into = scene._captions("Second", 3.0)
        self.assertEqual([round(out.rate_func(at / 3), 6) for at in (0.0, 0.21)], [0, 1])
        self.assertEqual([round(into.rate_func(at / 3), 6) for at in (0.25, 0.5)], [0, 1])


if __name__ == "__main__":
    unittest.main()
