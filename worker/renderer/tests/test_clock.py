"""The guard's clock stands while the machine does."""

import importlib
import os
import select
import signal
import time
import unittest

from manimq_renderer import clock
from manimq_renderer.loop import Loop


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


class Clock(unittest.TestCase):
    def setUp(self) -> None:
        importlib.reload(clock)

    def test_it_runs_as_time_does(self) -> None:
        began, real = clock.now(), time.monotonic()
        Loop().turn(0.05)
        self.assertAlmostEqual(clock.now() - began, time.monotonic() - real, delta=0.5)

    def test_who_wakes_up_somewhat_late_was_not_frozen(self) -> None:
        clock.waited(clock.now() - 2 - clock.LATE_S, 2.1)
        self.assertAlmostEqual(clock.now(), time.monotonic(), delta=0.5)

    def test_who_slept_far_longer_than_he_meant_to_lost_no_time(self) -> None:
        before = time.monotonic()
        clock.waited(clock.now() - 100, 2)
        self.assertAlmostEqual(clock.now(), before - 98, delta=1)
        clock.waited(clock.now() - 50, -3)  # a wait that was over before it began
        self.assertAlmostEqual(clock.now(), before - 148, delta=1)

    def test_a_stop_between_two_waits_is_seen_as_well(self) -> None:
        loop, (ready, tell) = Loop(), os.pipe()
        stands = clock.LATE_S + 0.5
        loop.watch(ready, select.POLLIN, lambda: time.sleep(stands))
        os.write(tell, b"x")
        began = clock.now()
        loop.turn(1.0)
        self.assertLess(clock.now() - began, stands - 1)

    def test_work_that_a_job_gives_the_guard_is_no_freeze(self) -> None:
        loop, (ready, tell) = Loop(), os.pipe()
        works = clock.LATE_S + 0.5

        def work() -> None:
            until = time.process_time() + works
            while time.process_time() < until:
                pass

        loop.watch(ready, select.POLLIN, work)
        os.write(tell, b"x")
        began = clock.now()
        loop.turn(1.0)
        self.assertGreaterEqual(clock.now() - began, works)

    def test_a_loop_that_was_stopped_did_not_run(self) -> None:
        ready, tell = os.pipe()
        if pid := os.fork():
            os.read(ready, 1)
            while _state(pid) == "R":
                time.sleep(0.01)  # until it waits
            os.kill(pid, signal.SIGSTOP)
            time.sleep(clock.LATE_S + 4)
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, 0)
            self.assertEqual(os.waitstatus_to_exitcode(status), 0)
            return
        good = False
        try:
            began, real = clock.now(), time.monotonic()
            os.write(tell, b"x")
            Loop().turn(3.0)
            frozen = time.monotonic() - real - 3.0
            good = abs(clock.now() - began - 3.0) < 0.9 and frozen > clock.LATE_S
        finally:
            os._exit(0 if good else 1)  # or the child would go on with the suite


if __name__ == "__main__":
    unittest.main()
