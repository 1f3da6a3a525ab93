"""Characters that no installed font has are told; those that are drawn are not, and no picture changes."""

import re
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from manim import MarkupText, Text, tempconfig

from manimq_renderer import coverage, fonts
from manimq_renderer.protocol import clean_texts

_NOWHERE = "\U0003fffd"
"""Of a plane that nobody assigns characters in."""


def warnings_of(*texts: str, markup: bool = False) -> list[str]:
    glyphs = fonts.MissingGlyphs()
    with mock.patch.object(Text, "_text2svg", Text._text2svg), mock.patch.object(
        MarkupText, "_text2svg", MarkupText._text2svg
    ), tempfile.TemporaryDirectory() as folder, tempconfig({"media_dir": folder}):
        glyphs.install()
        for text in texts:
            (MarkupText if markup else Text)(text)
    return glyphs.warnings


class Glyphs(unittest.TestCase):
    def test_a_character_that_no_font_has_is_named_with_what_to_install(self) -> None:
        for markup in (False, True):
            [warning] = warnings_of(f"a{_NOWHERE}b", f"{_NOWHERE}", markup=markup)
            self.assertEqual(warning.count(_NOWHERE), 1)
            self.assertIn("U+3FFFD", warning)
            self.assertIn("apt install fonts-noto-cjk;", warning)

    def test_of_what_is_drawn_nothing_is_said(self) -> None:
        self.assertEqual(warnings_of("Größe — x → y, “θ” ≤ 2π", "a\u200d\ufe0f\u00a0b", "ascii"), [])

    def test_a_warning_is_whole_however_many_characters_are_missing(self) -> None:
        glyphs = fonts.MissingGlyphs()
        with mock.patch.object(coverage.Coverage, "_has", return_value=False):
            glyphs._look("".join(map(chr, range(0x4E00, 0x4E80))) + "😀ا")
            glyphs._look("".join(map(chr, range(0x5000, 0x6000))))
        self.assertEqual(clean_texts(glyphs.warnings, 5, 300), glyphs.warnings)
        self.assertLessEqual(len(glyphs.warnings[0].encode()), 300)
        self.assertIn("fonts-noto-cjk fonts-symbola fonts-noto-core", glyphs.warnings[0])

    def test_the_picture_is_the_same(self) -> None:
        plain, watched = [], []
        for kept in (plain, watched):
            with mock.patch.object(Text, "_text2svg", Text._text2svg), tempfile.TemporaryDirectory() as folder, tempconfig(
                {"media_dir": folder}
            ):
                if kept is watched:
                    fonts.MissingGlyphs().install()
                Text(f"ab{_NOWHERE}→")
                # Cairo numbers all surfaces of a process.
                kept += [re.sub(r"surface\d+", "", each.read_text()) for each in Path(folder).rglob("*.svg")]
        self.assertTrue(plain)
        self.assertEqual(plain, watched)

    def test_a_font_that_a_scene_brings_counts(self) -> None:
        installed = mock.Mock(lacks=mock.Mock(return_value=["→"]))
        with mock.patch.object(fonts, "installed", return_value=installed):
            self.assertEqual(warnings_of("→"), [])
        installed.lacks.assert_called()

    def test_the_fonts_of_a_scene_are_looked_through_once_for_a_character(self) -> None:
        glyphs, own = fonts.MissingGlyphs(), mock.Mock(return_value=mock.Mock(lacks=mock.Mock(return_value=[])))
        installed = mock.Mock(lacks=mock.Mock(side_effect=list))
        with mock.patch.object(fonts, "installed", return_value=installed), mock.patch.object(fonts, "Coverage", own):
            for text in ("→", "→→", "→⇒", "⇒"):
                glyphs._look(text)
        self.assertEqual([each.args for each in own.return_value.lacks.call_args_list], [("→",), ("⇒",)])
        self.assertEqual(own.call_count, 2)

    def test_a_letter_is_drawn_if_its_parts_are(self) -> None:
        found = coverage.Coverage()
        with mock.patch.object(found, "_has", side_effect=lambda each: each in "\u1100\u1161"):
            self.assertEqual(found.lacks("가각"), ["각"])


if __name__ == "__main__":
    unittest.main()
