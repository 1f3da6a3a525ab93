"""What a job says of itself becomes numbers that mean something."""

import unittest

from manimq_renderer.progress import Progress


def _counts(frames: int) -> dict[str, int]:
    return {"animation": 1, "frames": frames, "animation_frames": frames}


class TheTimeLeft(unittest.TestCase):
    def setUp(self) -> None:
        self.progress = Progress(stage="rendering")
        self.progress.drawing(0.0)
        self.progress.learn_totals(1, 100)
        self.progress.count(_counts(10), 5.0)

    def test_it_is_told_by_the_rate_so_far(self) -> None:
        self.assertEqual(self.progress.message(5.0)["eta_s"], 45.0)

    def test_of_a_rate_that_has_faded_away_nothing_is_told(self) -> None:
        for second in range(100, 2000, 100):
            self.progress.count(_counts(10), float(second))
        self.assertIsNone(self.progress.message(2000.0)["eta_s"])


if __name__ == "__main__":
    unittest.main()
