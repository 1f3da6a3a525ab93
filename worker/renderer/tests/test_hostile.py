"""Whatever stands in a template's text fields is drawn or refused in a sentence; it is never run, and no file or program is touched for it."""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

import manimq_templates as catalogue

RENDERER = Path(__file__).resolve().parent.parent
ROUNDS = int(os.environ.get("MANIMQ_SOAK_HOSTILE", "1"))


class Hostile(unittest.TestCase):
    def test_words_in_any_field_are_never_more_than_words(self) -> None:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "tests.hostile", str(ROUNDS)], cwd=RENDERER, capture_output=True, text=True, timeout=900 * ROUNDS,
        )  # fmt: skip
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.assertEqual(len(results), ROUNDS * len(catalogue.ids()))
        drawn = sum(not each["error"] for each in results)
        self.assertGreaterEqual(2 * drawn, len(results), "most were refused")
        for each in results:
            with self.subTest(template=each["template"], which=each["which"], turn=each["turn"]):
                self.assertEqual(each["source"], f"{each['template'].replace('-', '_')}/scene.py")
                self.assertEqual(each["events"], [])
                self.assertEqual(each["in_tex"], [], "text reached LaTeX")
                if each["error"]:
                    self.assertEqual(each["error"], "ValueError", each["message"])
                    self.assertNotIn("not supported", each["message"], "Manim's own words")
                    self.assertTrue(10 < len(each["message"]) < 300, each["message"])
