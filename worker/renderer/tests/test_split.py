"""A film in pieces: when it pays, what is not split, and what the joined file decodes to."""

import struct
import tempfile
import unittest
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np

from manimq_renderer import gate
from manimq_renderer.progress import Progress
from manimq_renderer.split import GAIN_MIN, Cost, Splitter, join
from manimq_renderer.stream import Stream

from .test_stream import pictures, planes


class Deciding(unittest.TestCase):
    def test_two_cores_pay_for_scenes_that_are_slow_to_draw_only(self) -> None:
        # Measured, in seconds: a graph and a long lesson at 1080p60, a surface at 480p15.
        graph = Cost(540, drawing_s=1.03, scene_s=1.35, all_s=6.9)
        lesson = Cost(1900, drawing_s=8.9, scene_s=11.0, all_s=38.5)
        surface = Cost(72, drawing_s=17.9, scene_s=18.4, all_s=18.9)
        self.assertLess(max(graph.gain(2), lesson.gain(2)), 1.0)
        self.assertLess(lesson.gain(4), GAIN_MIN)
        self.assertGreater(lesson.gain(8), 1.5)
        self.assertGreater(surface.gain(2), 1.4)

    def test_updates_that_take_all_the_time_do_not_pay_on_any_number_of_cores(self) -> None:
        self.assertLess(Cost(100, drawing_s=0.5, scene_s=10.0, all_s=11.0).gain(64), 1.1)

    def test_sources_that_look_at_pictures_or_files_are_not_split(self) -> None:
        plain = "class A(Scene):\n    def construct(self):\n        self.play(Create(Square()))\n"
        for words, may in (
            ("", True),
            ("self.camera.get_image()", False),
            ("self.renderer.camera.pixel_array", False),
            ("open('notes.txt')", False),
            ("import threading", False),
            ("SVGMobject('logo.svg')", False),
            ("# reopened, a thread_like word", False),
            ("opened = 1", True),
        ):
            splitter = Splitter(2, lambda event: None)
            splitter.read_source(plain + "        " + words)
            self.assertEqual(splitter._may_split, may, words)

    def test_one_core_is_never_split(self) -> None:
        splitter = Splitter(1, lambda event: None)
        splitter.read_source("")
        self.assertFalse(splitter._may_split)


class Joining(unittest.TestCase):
    def test_pieces_of_any_length_join_to_all_their_pictures_at_an_even_rate(self) -> None:
        rate = Fraction(30000, 1001)
        spec = SimpleNamespace(
            container_format="mp4", codec="libx264", frame_rate=rate, width=128, height=96, pixel_format="yuv420p"
        )
        sent = pictures(128, 96, 59)
        with tempfile.TemporaryDirectory() as folder:
            pieces, first = [], 0
            for count in (3, 1, 40, 2, 13):
                piece = Path(folder) / f"{first:03}.mp4"
                film = Stream(piece, spec, {"qp": "0", "preset": "veryfast"})
                for picture in sent[first : first + count]:
                    film.put(picture.copy(), 1)
                film.finish()
                pieces.append(piece)
                first += count
            joined = Path(folder) / "film.mp4"
            join(pieces, joined, "mp4", rate)
            self.assertEqual([path for path in pieces if path.exists()], [])
            with av.open(str(joined)) as container:
                frames = list(container.decode(video=0))
        self.assertEqual(len(frames), len(sent))
        for index, (frame, picture) in enumerate(zip(frames, sent, strict=True)):
            self.assertEqual(frame.pts * frame.time_base, index / rate)
            whole = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format="yuv420p")
            for ours, theirs in zip(planes(frame), planes(whole), strict=True):
                self.assertTrue(np.array_equal(ours, theirs), index)


class Telling(unittest.TestCase):
    def test_frames_of_several_processes_add_up_and_the_animation_never_goes_back(self) -> None:
        progress = Progress(stage="rendering")
        progress.drawing(100.0)
        progress.add({"animation": 2, "frames": 10, "animation_frames": 10}, 101.0)
        progress.add({"animation": 1, "frames": 5, "animation_frames": 30}, 101.5)
        progress.add({"animation": 2, "frames": -4, "animation_frames": 12}, 101.6)
        self.assertEqual((progress.frames, progress.animation, progress.animation_frames), (15, 2, 12))


class AtTheGate(unittest.TestCase):
    def test_the_question_is_about_one_exact_call(self) -> None:
        program = gate._on_fork(gate._ASK)
        steps = list(struct.iter_unpack("=HBBI", program))
        compared = [value for code, _, _, value in steps if code == 0x15]
        self.assertEqual(compared, [gate._ARCH, gate._CLONE, 0x0120_0011, 0])
        # Whatever does not match goes on to the filter that follows.
        for index, (code, _, on_other, _) in enumerate(steps):
            if code == 0x15:
                self.assertEqual(index + 1 + on_other, len(steps))


if __name__ == "__main__":
    unittest.main()
