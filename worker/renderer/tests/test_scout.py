"""What the guard makes of two processes that it does not believe."""

import os
import subprocess
import tempfile
import time
import unittest
from collections.abc import Callable
from unittest import mock

from manimq_renderer import tex
from manimq_renderer.loop import EventPipe, Loop
from manimq_renderer.progress import Progress
from manimq_renderer.tex_desk import FORESEEN_MAX, Client, Desk, Shelf


class Totals(unittest.TestCase):
    def drawn(self, frames: int, animation: int = 1, seconds: float = 2.0) -> Progress:
        progress = Progress(stage="rendering")
        progress.drawing(100.0)
        progress.count({"animation": animation, "frames": frames}, 100.0 + seconds)
        return progress

    def test_without_a_scout_there_are_none(self) -> None:
        message = self.drawn(30).message(102.0)
        self.assertEqual((message["frames"], message["frames_total"], message["eta_s"]), (30, None, None))

    def test_the_rate_gives_the_seconds_left(self) -> None:
        progress = self.drawn(30)
        progress.learn_totals(4, 120)
        message = progress.message(102.0)
        self.assertEqual((message["animations_total"], message["frames_total"]), (4, 120))
        self.assertAlmostEqual(message["eta_s"], 6.0)
        # A frame that does not come makes it later.
        self.assertGreater(progress.message(104.0)["eta_s"], 6.0)

    def test_one_jump_does_not_make_the_rate(self) -> None:
        progress = self.drawn(30)
        progress.learn_totals(4, 1000)
        progress.count({"animation": 2, "frames": 130}, 102.01)  # a wait, repeated
        self.assertGreater(progress.message(102.01)["eta_s"], 10.0)

    def test_totals_that_the_job_passes_are_dropped_for_good(self) -> None:
        progress = self.drawn(30)
        progress.learn_totals(4, 40)
        progress.count({"animation": 2, "frames": 41}, 103.0)
        self.assertIsNone(progress.message(103.0)["frames_total"])
        progress.learn_totals(4, 400)
        self.assertIsNone(progress.message(103.0)["frames_total"])
        late = self.drawn(30, animation=5)
        late.learn_totals(4, 400)
        self.assertIsNone(late.message(103.0)["animations_total"])

    def test_counts_that_run_backwards_do_no_harm(self) -> None:
        progress = self.drawn(30)
        progress.learn_totals(4, 40)
        for now, frames in ((102.0, 0), (101.0, 10), (102.0, -3), (102.0, None)):
            progress.count({"animation": 1, "frames": frames}, now)
            eta = progress.message(now)["eta_s"]
            self.assertTrue(eta is None or eta >= 0)

    def test_the_end_is_the_total(self) -> None:
        progress = self.drawn(30, animation=3)
        progress.stage = "encoding"
        message = progress.message(103.0)
        self.assertEqual((message["animations_total"], message["frames_total"]), (3, 30))
        progress.finish(3, 31)
        message = progress.message(103.0)
        self.assertEqual((message["frames"], message["frames_total"]), (31, 31))


class HostilePipes(unittest.TestCase):
    def said(self, data: bytes, bytes_max: int = 10**6, lines_max: int = 100) -> tuple[list[bytes], list[str]]:
        loop = Loop()
        ours, theirs = os.pipe()
        lines: list[bytes] = []
        wrong: list[str] = []
        pipe = EventPipe(
            loop,
            ours,
            bytes_max=bytes_max,
            lines_max=lines_max,
            on_line=lambda line: lines.append(line) is None and line != b"bad",
            on_violation=wrong.append,
        )
        os.write(theirs, data)
        os.close(theirs)
        pipe.read(all_of_it=True)
        pipe.read(all_of_it=True)
        os.close(ours)
        return lines, wrong

    def test_lines_are_passed_on(self) -> None:
        self.assertEqual(self.said(b"a\nb\npartial"), ([b"a", b"b"], []))

    def test_nothing_is_read_after_a_violation(self) -> None:
        lines, wrong = self.said(b"a\nbad\nb\n")
        self.assertEqual((lines, len(wrong)), ([b"a", b"bad"], 1))
        self.assertEqual(len(self.said(b"a\n" * 101)[1]), 1)
        self.assertEqual(len(self.said(b"a" * 1000, bytes_max=999)[1]), 1)


class TexForTwo(unittest.TestCase):
    """The desk with a shell in place of LaTeX: it waits, and writes what it was asked."""

    def setUp(self) -> None:
        patch = mock.patch("manimq_renderer.tex_desk.walls.unmount_tex_folder")
        patch.start()
        self.addCleanup(patch.stop)
        self.loop = Loop()
        self.started: list[tuple[str, int]] = []
        self.desk = self.make_desk(places=1)

    def make_desk(self, places: int, shelf: Shelf | None = None) -> Desk:
        programs = tex.Programs("/usr/bin/latex", None, "/usr/bin/dvisvgm")
        self.desk = Desk(self.loop, programs, self.start, shelf, places)
        self.job, self.job_reads = self.client(0)
        self.scout, self.scout_reads = self.client(15)
        self.addCleanup(self.desk.close)
        return self.desk

    def foresee(self, text: str) -> bool:
        return self.desk.foresee({"text": text, "compiler": "latex", "extension": ".dvi"})

    def client(self, nice: int) -> tuple[Client, int]:
        reads, writes = os.pipe()
        client = Client(writes, nice, lambda: None)
        self.desk.join(client)
        self.addCleanup(os.close, reads)
        self.addCleanup(os.close, writes)
        return client, reads

    def start(self, request: tex.Request, nice: int, place: int) -> tuple[int, int]:
        self.started.append((request.text, nice))
        self.assertNotIn(place, {run.place for run in self.desk._runs})
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        script = "exit 2" if request.text == "wrong" else f"sleep 0.2; echo '{request.text}' >job.svg"
        shell = subprocess.Popen(["sh", "-c", f"exec 2>&-; {script}"], cwd=folder.name, process_group=0)
        shell.returncode = 0  # the desk reaps it
        return shell.pid, os.open(folder.name, os.O_PATH | os.O_DIRECTORY)

    def ask(self, client: Client, text: str) -> bool:
        return self.desk.ask(client, {"text": text, "compiler": "latex", "extension": ".dvi"})

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not reached():
            self.assertLess(time.monotonic(), deadline)
            self.loop.turn(0.05)

    def served(self, client: Client) -> bool:
        return client.wanted is None and not client.reply

    def test_a_formula_is_set_once_for_both(self) -> None:
        self.assertTrue(self.ask(self.scout, "x"))
        self.assertTrue(self.ask(self.job, "x"))
        self.until(lambda: self.served(self.job) and self.served(self.scout))
        answer = b'{"ok": true, "bytes": 2}\nx\n'
        self.assertEqual(os.read(self.job_reads, 100), answer)
        self.assertEqual(os.read(self.scout_reads, 100), answer)
        self.ask(self.job, "x")
        self.until(lambda: self.served(self.job))
        self.assertEqual(os.read(self.job_reads, 100), answer)
        self.assertEqual(self.started, [("x", 15)])

    def test_the_job_goes_first_and_the_scout_gets_its_own_later(self) -> None:
        self.ask(self.scout, "s")
        self.ask(self.job, "j")
        self.until(lambda: self.served(self.job))
        self.assertIsNotNone(self.scout.wanted)
        self.until(lambda: self.served(self.scout))
        self.assertEqual(self.started, [("s", 15), ("j", 0), ("s", 15)])
        self.assertIn(b"s\n", os.read(self.scout_reads, 100))

    def test_the_job_does_not_wait_for_less_than_its_own(self) -> None:
        self.ask(self.job, "j")
        self.ask(self.scout, "s")
        self.until(lambda: self.served(self.scout))
        self.assertEqual(self.started, [("j", 0), ("s", 15)])

    def test_a_failure_is_not_shared(self) -> None:
        self.ask(self.scout, "wrong")
        self.ask(self.job, "wrong")
        self.until(lambda: self.served(self.job) and self.served(self.scout))
        self.assertEqual(self.started, [("wrong", 15), ("wrong", 0)])
        self.assertIn(b'"ok": false', os.read(self.job_reads, 1000))

    def test_one_at_a_time_each(self) -> None:
        self.assertTrue(self.ask(self.scout, "a"))
        self.assertFalse(self.ask(self.scout, "b"))

    def test_a_client_that_left_is_not_worked_for(self) -> None:
        self.ask(self.scout, "s")
        self.desk.leave(self.scout)
        self.ask(self.job, "j")
        self.until(lambda: self.served(self.job))
        self.assertEqual(self.started, [("s", 15), ("j", 0)])
        self.assertEqual(os.read(self.job_reads, 100), b'{"ok": true, "bytes": 2}\nj\n')

    def test_announced_formulas_are_set_side_by_side_and_each_once(self) -> None:
        self.make_desk(places=2)
        for text in "abc":
            self.assertTrue(self.foresee(text))
        self.assertEqual([text for text, _ in self.started], ["a", "b"])
        for text in "abc":
            self.ask(self.job, text)
            self.until(lambda: self.served(self.job))
            self.assertEqual(os.read(self.job_reads, 100), b'{"ok": true, "bytes": 2}\n' + f"{text}\n".encode())
        self.assertEqual([text for text, _ in self.started], ["a", "b", "c"])

    def test_who_waits_does_not_wait_for_what_was_only_announced(self) -> None:
        self.make_desk(places=2)
        for text in "abc":
            self.foresee(text)
        self.ask(self.job, "j")
        self.until(lambda: self.served(self.job))
        self.assertEqual([text for text, _ in self.started][:3], ["a", "b", "j"])

    def test_the_failure_of_an_announced_formula_is_told_to_the_job_that_waits(self) -> None:
        self.foresee("wrong")
        self.ask(self.job, "wrong")
        self.until(lambda: self.served(self.job))
        self.assertEqual(len(self.started), 1)
        self.assertIn(b'"ok": false', os.read(self.job_reads, 1000))

    def test_announcements_are_bounded(self) -> None:
        taken = [self.foresee(str(number)) for number in range(FORESEEN_MAX + 5)]
        self.assertFalse(taken[-1])
        self.assertLessEqual(len(self.desk._foreseen), FORESEEN_MAX)

    def test_a_formula_of_an_earlier_job_is_not_set_again(self) -> None:
        sent: list[dict[str, object]] = []
        self.make_desk(1, Shelf(sent.append))
        self.ask(self.job, "x")
        self.assertEqual([message["type"] for message in sent], ["formula_wanted"])
        self.desk.take_from_shelf(str(sent[0]["key"]), "<svg/>")
        self.until(lambda: self.served(self.job))
        self.assertEqual(os.read(self.job_reads, 100), b'{"ok": true, "bytes": 6}\n<svg/>')
        self.assertEqual(self.started, [])

    def test_a_formula_that_nobody_has_is_set_and_handed_over(self) -> None:
        sent: list[dict[str, object]] = []
        self.make_desk(1, Shelf(sent.append))
        self.ask(self.job, "x")
        self.desk.take_from_shelf(str(sent[0]["key"]), None)
        self.until(lambda: self.served(self.job))
        self.assertEqual(self.started, [("x", 0)])
        self.assertEqual((sent[1]["type"], sent[1]["key"], sent[1]["svg"]), ("formula_made", sent[0]["key"], "x\n"))

    def test_a_worker_that_does_not_answer_is_not_waited_for_long(self) -> None:
        self.make_desk(1, Shelf(lambda message: None))
        self.ask(self.job, "x")
        self.assertEqual(self.started, [])
        due = self.desk.deadline()
        assert due is not None
        self.desk.keep_time(due)
        self.until(lambda: self.served(self.job))
        self.assertEqual(self.started, [("x", 0)])


if __name__ == "__main__":
    unittest.main()
