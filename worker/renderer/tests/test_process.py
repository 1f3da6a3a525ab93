"""What is seen of another process."""

import os
import select
import signal
import subprocess
import sys
import time
import unittest

from manimq_renderer import process

_HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


class AProcess(unittest.TestCase):
    def setUp(self) -> None:
        self.proc = process.open_proc()
        self.addCleanup(os.close, self.proc)

    def _start(self, code: str) -> int:
        child = subprocess.Popen([sys.executable, "-c", code])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child.pid

    def test_one_whose_first_thread_ended_while_another_goes_on_is_headless(self) -> None:
        pid = self._start(_HEADLESS)
        until = time.monotonic() + 30
        while not process.is_headless(self.proc, pid):
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        self.assertTrue(process.is_headless(None, pid))

    def test_one_that_runs_or_has_ended_is_not(self) -> None:
        self.assertFalse(process.is_headless(self.proc, os.getpid()))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        ended = os.pidfd_open(pid)
        select.select([ended], [], [], 30)
        os.close(ended)
        self.assertFalse(process.is_headless(self.proc, pid))
        os.waitpid(pid, 0)
        self.assertFalse(process.is_headless(self.proc, pid))
        self.assertEqual(process.cpu_s(self.proc, pid), 0.0)

    def test_its_time_has_that_of_children_that_were_waited_for(self) -> None:
        before = process.cpu_s(self.proc, os.getpid())
        pid = os.fork()
        if pid == 0:
            while time.process_time() < 0.3:
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        self.assertGreater(process.cpu_s(self.proc, os.getpid()) - before, 0.25)


if __name__ == "__main__":
    unittest.main()
