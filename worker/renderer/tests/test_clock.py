"""The guard's clock stands while the machine does."""

import importlib
import os
import signal
import time
import unittest

from manimq_renderer import clock
from manimq_renderer.loop import Loop


class Clock(unittest.TestCase):
    def setUp(self) -> None:
        importlib.reload(clock)

    def test_it_runs_as_time_does(self) -> None:
        began, real = clock.now(), time.monotonic()
        Loop().turn(0.05)
        self.assertAlmostEqual(clock.now() - began, time.monotonic() - real, places=2)

    def test_who_wakes_up_somewhat_late_was_not_frozen(self) -> None:
        clock.waited(clock.now() - 2 - clock.LATE_S, 2.1)
        self.assertAlmostEqual(clock.now(), time.monotonic(), places=2)

    def test_who_slept_far_longer_than_he_meant_to_lost_no_time(self) -> None:
        before = time.monotonic()
        clock.waited(clock.now() - 100, 2)
        self.assertAlmostEqual(clock.now(), before - 98, places=1)
        clock.waited(clock.now() - 50, -3)  # a wait that was over before it began
        self.assertAlmostEqual(clock.now(), before - 148, places=1)

    def test_a_loop_that_was_stopped_did_not_run(self) -> None:
        if pid := os.fork():
            time.sleep(0.2)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(clock.LATE_S + 1.5)
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, 0)
            self.assertEqual(os.waitstatus_to_exitcode(status), 0)
            return
        began, real = clock.now(), time.monotonic()
        Loop().turn(1.0)
        frozen = time.monotonic() - real - 1.0
        os._exit(0 if abs(clock.now() - began - 1.0) < 0.5 and frozen > clock.LATE_S else 1)


if __name__ == "__main__":
    unittest.main()
