"""What the guard's queue for formulas costs it, and lines that its pipes take bit by bit."""

import os
import unittest
from unittest import mock

from manimq_renderer import tex
from manimq_renderer.loop import Loop
from manimq_renderer.tex_desk import FORESEEN_MAX, Client, Desk, Shelf

_PROGRAMS = tex.Programs("/usr/bin/latex", None, "/usr/bin/dvisvgm")


def _desk(loop: Loop) -> Desk:
    def start(*_: object) -> tuple[int, int]:
        raise AssertionError("there is no place")

    return Desk(loop, _PROGRAMS, start, Shelf(lambda message: None), places=0)


def _event(text: str) -> dict[str, str]:
    return {"text": text, "compiler": "latex", "extension": ".dvi"}


class TheDesk(unittest.TestCase):
    def test_each_announcement_is_hashed_once_however_many_long_ones_wait(self) -> None:
        desk = _desk(Loop())
        with mock.patch.object(tex.hashlib, "sha256", wraps=tex.hashlib.sha256) as hashed:
            for n in range(FORESEEN_MAX):
                self.assertTrue(desk.foresee(_event(f"{n}" + "a" * 60_000)))
            self.assertFalse(desk.foresee(_event("one more")))
        self.assertEqual(hashed.call_count, FORESEEN_MAX + 1)

    def test_a_line_that_is_longer_than_a_pipe_arrives_whole(self) -> None:
        loop = Loop()
        desk = _desk(loop)
        reading, writing = os.pipe()
        client = Client(writing, 0, lambda: None)
        desk.join(client)
        line = bytes(range(256)) * 1000
        desk.tell(client, line)
        self.assertTrue(client.reply, "the pipe is full")
        came = b""
        while len(came) < len(line):
            came += os.read(reading, 65536)
            loop.turn(0.0)
        self.assertEqual(came, line)
        self.assertFalse(client.reply)
        desk.leave(client)
        os.close(writing)
        os.close(reading)


if __name__ == "__main__":
    unittest.main()
