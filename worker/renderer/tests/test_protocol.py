"""What a job says is bounded before it is passed on."""

import json
import os
import tempfile
import unittest
from pathlib import Path

from manimq_renderer import collect, protocol, tex, tex_words


class HostileMessages(unittest.TestCase):
    def test_numbers_must_be_whole_and_in_range(self) -> None:
        for value in (-1, 1.5, "1", None, True, 2**70, float("nan")):
            self.assertIsNone(protocol.clean_count(value))
        self.assertEqual(protocol.clean_count(7), 7)

    def test_seconds_must_be_finite(self) -> None:
        for value in (float("inf"), float("nan"), -1.0, "1", True, 10**400, 1e300):
            self.assertIsNone(protocol.clean_seconds(value))

    def test_text_is_cut_and_can_be_encoded(self) -> None:
        self.assertEqual(len(protocol.clean_text("x" * 10_000, 100) or ""), 100)
        self.assertEqual(protocol.clean_text("\ud800"), "\\u{d800}")
        self.assertEqual(protocol.clean_text("a\tb\nc\x1b[2J\u202e"), "a\tb\nc\\u{1b}[2J\\u{202e}")
        self.assertLessEqual(len(protocol.clean_text("\x01" * 10_000, 100) or ""), 100)
        self.assertIsNone(protocol.clean_text(b"x"))

    def test_a_failure_of_rubbish_is_still_a_failure(self) -> None:
        rubbish = {
            "class": ["internal"],
            "message": {"a": 1},
            "line": "4",
            "stack": [1, {"line": -1}, {"line": 3, "function": 5, "code": []}],
            "scenes": "abc",
            "latex": {"formula": 1, "errors": [1, "x"]},
        }
        clean = protocol.clean_failure(rubbish, "scene.py")
        self.assertEqual(clean["class"], "scene_error")
        self.assertEqual(clean["stack"], [{"line": 3, "function": "?", "code": None}])
        self.assertEqual(clean["scenes"], [])
        self.assertEqual(clean["latex"], {"formula": None, "errors": ["x"]})
        self.assertIsNone(clean["file"])
        json.dumps(clean)

    def test_a_failure_always_fits_into_a_message(self) -> None:
        for filler in ("\x01", '"', "\\", "\n", "\U0001f600", "\ud800"):
            event = {
                "message": filler * 9000,
                "scenes": [filler * 900] * 200,
                "line": 1,
                "code": filler * 900,
                "stack": [{"line": 1, "function": filler * 900, "code": filler * 900}] * 12,
                "latex": {"formula": filler * 9000, "errors": [filler * 900] * 9},
            }
            clean = protocol.clean_failure(event, "scene.py")
            encoded = json.dumps(clean, ensure_ascii=False).encode()
            self.assertLessEqual(len(encoded), protocol.FAILURE_BYTES_MAX)
            self.assertGreater(len(clean["message"]), 500)

    def test_a_job_cannot_claim_a_class_of_ours(self) -> None:
        for claimed in ("internal", "sandbox_unavailable", "stalled", "", None):
            self.assertEqual(protocol.clean_failure({"class": claimed}, "s.py")["class"], "scene_error")

    def test_a_probe_that_lies_is_refused(self) -> None:
        honest = b'{"inode": 7, "frames": 1, "width": 2, "height": 3, "fps": 4, "duration_s": 5}'
        self.assertEqual(collect.read_probe(honest, 7).width, 2)
        for answer in (b"", b"[]", b"{}", b'{"error": "no"}', b'{"frames": 1e99}', b"[" * 4096, honest.replace(b"4", b"NaN"),
                       honest.replace(b"5", b"Infinity"), b"x" * 4096, honest.replace(b"7", b"8")):
            with self.assertRaises(collect.Refused):
                collect.read_probe(answer, 7)


class TexRequests(unittest.TestCase):
    installed = tex.Programs("/usr/bin/latex", None, "/usr/bin/dvisvgm")

    def ask(self, programs: tex.Programs = installed, **event: object) -> object:
        base = {"text": "x", "compiler": "latex", "extension": ".dvi"}
        return tex.parse_request({**base, **event}, programs)

    def test_latex_is_accepted(self) -> None:
        request = self.ask()
        assert isinstance(request, tex.Request)
        self.assertEqual((request.program, request.product), ("/usr/bin/latex", "job.dvi"))

    def test_without_latex_the_message_says_how_to_get_it(self) -> None:
        answer = self.ask(tex.Programs(None, None, None))
        assert isinstance(answer, dict)
        self.assertEqual(answer["kind"], "missing")
        for word in ("not installed", "--no-latex", "deploy/setup"):
            self.assertIn(word, answer["message"])

    def test_an_engine_that_is_missing_is_named_with_what_to_do(self) -> None:
        answer = self.ask(compiler="xelatex", extension=".xdv")
        assert isinstance(answer, dict)
        self.assertTrue(answer["message"].startswith("xelatex is not installed"), answer)
        self.assertIn("texlive-xetex", answer["message"])
        self.assertNotIn("--no-latex", answer["message"])

    def test_what_is_not_offered_is_refused(self) -> None:
        for event in (
            {"compiler": "lualatex", "extension": ".pdf"},
            {"compiler": "/bin/sh"},
            {"extension": ".pdf"},
            {"text": "x" * (protocol.TEX_CHARS_MAX + 1)},
            {"text": None},
        ):
            answer = self.ask(**event)
            assert isinstance(answer, dict)
            self.assertFalse(answer["ok"])

    def test_tex_errors_carry_the_line_where_tex_stopped(self) -> None:
        log = "junk\n! Undefined control sequence.\nl.7 x = \\undefined\n      {2}\n!  ==> Fatal error occurred\n"
        self.assertEqual(tex_words.errors(log), ["Undefined control sequence \\undefined (at: x = \\undefined)"])


if __name__ == "__main__":
    unittest.main()


class Outputs(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.secret = Path(place.name) / "secret"
        self.secret.write_bytes(b"x" * 100)
        self.job = Path(place.name) / "job"
        (self.job / "out").mkdir(parents=True)
        self.directory = os.open(self.job, os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, self.directory)
        self.output = self.job / "out/film.mp4"

    def _opens(self, bytes_max: int = 1000) -> bytes:
        fd = collect.open_output(self.directory, "out/film.mp4", bytes_max)
        with os.fdopen(fd, "rb") as file:
            return file.read()

    def test_a_plain_file_is_taken(self) -> None:
        self.output.write_bytes(b"film")
        self.assertEqual(self._opens(), b"film")

    def test_no_link_is_followed_be_it_the_file_or_a_folder_on_the_way(self) -> None:
        self.output.symlink_to(self.secret)
        with self.assertRaises(collect.Refused):
            self._opens()
        self.output.unlink()
        (self.job / "real").mkdir()
        (self.job / "real/film.mp4").write_bytes(b"film")
        (self.job / "out").rmdir()
        (self.job / "out").symlink_to("real")
        with self.assertRaises(collect.Refused):
            self._opens()

    def test_what_is_no_plain_file_of_its_own_is_refused_at_once(self) -> None:
        os.mkfifo(self.output)
        with self.assertRaises(collect.Refused):
            self._opens()
        self.output.unlink()
        self.output.mkdir()
        with self.assertRaises(collect.Refused):
            self._opens()
        self.output.rmdir()
        os.link(self.secret, self.output)
        with self.assertRaises(collect.Refused):
            self._opens()

    def test_too_much_and_holes_are_refused(self) -> None:
        self.output.write_bytes(b"x" * 1001)
        with self.assertRaises(collect.Refused) as refused:
            self._opens()
        self.assertIn("1001 bytes", str(refused.exception))
        with self.output.open("wb") as file:
            file.truncate(1 << 30)
        with self.assertRaises(collect.Refused):
            self._opens(2 << 30)

