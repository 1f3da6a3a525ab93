"""What is told of a scene that was stopped: where it was, and the loop that it was in."""

import linecache
import sys
import unittest
from types import FrameType
from typing import Any

from manimq_renderer import failure, hints

_PATH = "/job/loops.py"
_SOURCE = """\
def construct(stop):
    for each in range(3):
        pass
    while True:
        # a comment

        if each:
            for inner in range(9):
                pass
            stop()
    return

def called_in_a_loop(stop):
    while True:
        helper(stop)

def helper(stop):
    for once in range(1):
        pass
    stop()

def straight(stop):
    while False:
        pass
    stop()

def on_one_line(stop):
    while True: stop()
"""


class WhereItStopped(unittest.TestCase):
    def setUp(self) -> None:
        linecache.cache[_PATH] = (len(_SOURCE), None, _SOURCE.splitlines(keepends=True), _PATH)
        self.addCleanup(linecache.cache.pop, _PATH)
        self.names: dict[str, Any] = {}
        exec(compile(_SOURCE, _PATH, "exec"), self.names)

    def told(self, function: str) -> dict[str, Any]:
        class Seen(Exception):
            pass

        def stop() -> None:
            frame: FrameType = sys._getframe()
            raise Seen(failure.describe_frame(frame, _PATH))

        with self.assertRaises(Seen) as caught:
            self.names[function](stop)
        return caught.exception.args[0]

    def test_the_loop_is_the_one_around_the_line_not_one_that_is_over(self) -> None:
        told = self.told("construct")
        self.assertEqual((told["line"], told["loop"]), (10, 4))

    def test_a_function_that_a_loop_calls_is_in_that_loop(self) -> None:
        told = self.told("called_in_a_loop")
        self.assertEqual((told["line"], told["loop"]), (20, 14))

    def test_a_loop_on_one_line_is_found(self) -> None:
        self.assertEqual(self.told("on_one_line")["loop"], 28)

    def test_without_a_loop_none_is_asked_about(self) -> None:
        told = self.told("straight")
        self.assertEqual((told["line"], told["loop"]), (25, None))

    def test_the_hint_asks_about_the_loop_and_names_the_way_to_more_time(self) -> None:
        self.assertRegex(hints.of_time("timeout", 4), r"^does the loop at line 4 end\? .*--timeout .*timeout_s")
        self.assertRegex(hints.of_time("timeout", None), r"^make the scene shorter .*--timeout")


if __name__ == "__main__":
    unittest.main()
