"""The program of one job inside somebody else's sandbox."""

import importlib.util
import unittest
from pathlib import Path

_PATH = Path(__file__).parents[1] / "inside" / "job.py"
_SPEC = importlib.util.spec_from_file_location("inside_job", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
job = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(job)


class OomKills(unittest.TestCase):
    def test_the_kernel_s_count_is_read_and_0_where_it_does_not_count(self) -> None:
        self.assertEqual(job.oom_kills_in("pgfault 12\noom_kill 7\noom_kill_task 9\n"), 7)
        self.assertEqual(job.oom_kills_in("pgfault 12\nnr oom_kill 3\n"), 0)
        self.assertGreaterEqual(job._oom_kills(), 0)
