"""Long words and long texts in small boxes: broken where one would, cut at last, and always large enough to read."""

import sys
import tempfile
import time
import unittest
from pathlib import Path

from manim import tempconfig

sys.path.insert(0, str(Path(__file__).resolve().parent))

from manimq_templates import kit  # noqa: E402
from manimq_templates.kit import wrap  # noqa: E402
from manimq_templates.kit.text import measure  # noqa: E402

THEME = kit.Theme.of({})


def lines(written: str, room: float, kind: int = wrap.ANYWHERE) -> list[str]:
    """Broken at that many letters, all as wide as one another."""
    return wrap.lines_of(written, room, kind, len)


def broken(written: str, width: float, height: float = 3.0, size: float = 32, lines_max: int = 8) -> wrap.Broken:
    whole, unit = (each * size for each in measure(THEME.font, "NORMAL", "NORMAL", written))
    return wrap.broken(written, whole, unit, size, width, height, lines_max)


class Breaks(unittest.TestCase):
    def test_words_that_fit_stay_whole(self) -> None:
        for kind in (wrap.WHOLE, wrap.SOFT, wrap.ANYWHERE):
            self.assertEqual(lines("one two_three four", 9, kind), ["one", "two_three", "four"])
            self.assertEqual(lines("well-known fact", 6, kind), ["well-", "known", "fact"])

    def test_a_long_word_breaks_at_soft_places_first(self) -> None:
        for written, room, expected in (
            ("read_the_manual_first", 9, ["read_the_", "manual_", "first"]),
            ("user/profile/avatar.png", 9, ["user/", "profile/", "avatar.", "png"]),
            ("version2024build77", 8, ["version", "2024", "build77"]),
            ("calculateTotalPrice", 9, ["calculate", "Total", "Price"]),
        ):
            self.assertEqual(lines(written, room, wrap.SOFT), expected)
            self.assertEqual(lines(written, room, wrap.ANYWHERE), expected)

    def test_a_word_without_soft_places_breaks_between_letters_with_a_hyphen(self) -> None:
        self.assertEqual(lines("incomprehensibilities", 9), ["incompre-", "hensibil-", "ities"])
        self.assertEqual(lines("incomprehensibilities", 9, wrap.SOFT), ["incomprehensibilities"])
        self.assertEqual(lines("0123456789abc", 5)[:2], ["01234", "56789"], "digits take no hyphen")
        self.assertEqual(lines("你好世界你好", 3), ["你好世", "界你好"], "nor do ideographs")

    def test_no_mark_is_parted_from_its_letter_and_no_letter_stands_alone(self) -> None:
        for each in lines("e\u0301" * 30, 9):
            self.assertTrue(each.startswith("e\u0301"), each)
        for room in range(4, 15):
            found = lines("abcdefghijklmnopq", room)
            self.assertEqual("".join(found).replace("-", ""), "abcdefghijklmnopq")
            self.assertLessEqual(max(map(len, found)), room)
            self.assertGreaterEqual(min(len(found[0]) - 1, len(found[-1])), 2)

    def test_nothing_but_hyphens_is_added_and_nothing_lost(self) -> None:
        for written in ("a b", "x" * 200, "path/to-some_where.else " * 9, "-----", "é" * 50, "= +", "a-b-c-d", "W 你好 w_"):
            for room in (1, 2, 5, 17):
                for kind in (wrap.WHOLE, wrap.SOFT, wrap.ANYWHERE):
                    found = "".join(lines(written, room, kind))
                    plain = [each.replace("-", "").replace(" ", "") for each in (found, written)]
                    self.assertEqual(plain[0], plain[1], (written, room, kind))


class Sizes(unittest.TestCase):
    def test_a_long_word_is_broken_before_it_gets_too_small_to_read(self) -> None:
        written = "Donaudampfschifffahrtsgesellschaftskapitän"
        found = broken(written, 2.0)
        self.assertGreaterEqual(found.scale * 32, wrap.READABLE)
        self.assertGreater(len(found.lines), 1)
        self.assertEqual("".join(found.lines).replace("-", ""), written)
        self.assertEqual(broken(written, 6.0).lines, [written], "and no sooner")

    def test_what_cannot_be_read_even_so_is_cut_with_an_ellipsis(self) -> None:
        for written, width, height in (("incomprehensibilities " * 20, 2.0, 1.0), ("x" * 400, 1.0, 1.0), ("one two " * 99, 2.0, 0.6)):
            found = broken(written.strip(), width, height)
            self.assertTrue(found.lines[-1].endswith("…"), found)
            self.assertGreaterEqual(found.scale * 32, wrap.READABLE)
            self.assertGreater(len("".join(found.lines)), 8)
        found = broken("a label on one line", 1.2, lines_max=1)
        self.assertEqual((len(found.lines), found.lines[0][-1]), (1, "…"))

    def test_a_number_is_never_broken_nor_cut(self) -> None:
        for written in ("−1234567.890123", "12/34567", "3.14159×10¹²", "99 %"):
            for lines_max in (1, 4):
                self.assertEqual(broken(written, 0.3, 0.3, lines_max=lines_max).lines, [written])

    def test_texts_come_out_as_large_as_their_boxes_allow(self) -> None:
        for size, width, height, least in ((32, 4.0, 2.0, 24), (46, 12.0, 1.25, 30), (22, 2.0, 1.0, 14)):
            found = broken("the quick brown fox jumps over the lazy dog", width, height, size)
            self.assertGreaterEqual(found.scale * size, least)
            self.assertFalse(found.lines[-1].endswith("…"))

    def test_what_is_drawn_is_as_large_as_was_planned(self) -> None:
        with tempfile.TemporaryDirectory(prefix="wrap-") as folder, tempconfig({"media_dir": folder, "verbosity": "ERROR"}):
            for written in ("iiiiiiiiii MMMMMMMMMM " * 4, "Donaudampfschifffahrtsgesellschaft", "W" * 120, "read_the_manual/first.txt"):
                for width, height in ((2.0, 2.0), (1.0, 0.8), (5.0, 0.6)):
                    drawn = kit.text(THEME, written, "body", width=width, height=height)
                    self.assertGreater(drawn.shrunk * THEME.body, 11.5, (written, width, height))
                    self.assertLessEqual(drawn.width, width + 0.02)
                    tall, _ = kit.planned(THEME, written, THEME.body, width=width, height=height)
                    self.assertLessEqual(tall, height + 0.02)

    def test_the_longest_texts_are_broken_in_no_time(self) -> None:
        for written in ("x" * 1200, "ab " * 400, "a_b-c/" * 200):
            whole = wrap.breadth(written)
            began = time.perf_counter()
            wrap.broken(written, whole, 1.0, 32, 10.0, 10.0, 8)
            self.assertLess(time.perf_counter() - began, 5.0, written[:6])


if __name__ == "__main__":
    unittest.main()
