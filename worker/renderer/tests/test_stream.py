"""The continuous film: what is converted, and what its files decode to."""

import os
import subprocess
import sys
import tempfile
import unittest
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av
import numpy as np
from manim.camera.camera import Camera

from manimq_renderer import engine
from manimq_renderer.pictures import Converter
from manimq_renderer.stream import Stream

RENDERER = Path(__file__).resolve().parent.parent


def planes(frame: Any) -> list[Any]:
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
        for plane in frame.planes
    ]


def pictures(width: int, height: int, count: int) -> list[Any]:
    """Pictures of which some equal the last one, some change a little and some a lot."""
    rng = np.random.default_rng(7)
    all_of_it = [rng.integers(0, 256, (height, width, 4), np.uint8)]
    while len(all_of_it) < count:
        picture = all_of_it[-1].copy()
        kind = len(all_of_it) % 5
        if kind:
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            rows = (1, height // 4, height // 3, height)[kind - 1]
            picture[top : top + rows, left : left + int(rng.integers(1, width))] = rng.integers(0, 256, 4, np.uint8)
        all_of_it.append(picture)
    return all_of_it


ENCODE = """
import hashlib, sys, tempfile
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from manimq_renderer import engine, stream

width, height = 854, 480
spec = SimpleNamespace(container_format="mp4", codec="libx264", pixel_format="yuv420p", width=width, height=height,
                       frame_rate=Fraction(15), options=())
options = engine.stream_options(spec, gif=False)
if sys.argv[1] == "x264's own choice":
    options.pop("x264-params", None)
rng = np.random.default_rng(5)
wide = np.repeat(np.repeat(rng.integers(0, 256, (40, 130, 4), np.uint8), 16, axis=0), 16, axis=1)
with tempfile.TemporaryDirectory() as folder:
    film = stream.Stream(Path(folder, "film.mp4"), spec, options)
    for n in range(24):
        film.put(np.ascontiguousarray(wide[3 * n : 3 * n + height, 7 * n : 7 * n + width]), 1)
    film.finish()
    print(hashlib.md5(Path(folder, "film.mp4").read_bytes()).hexdigest())
"""
"""Prints the checksum of a film; what memory holds before it is written, ``MALLOC_PERTURB_`` says."""


class Conversion(unittest.TestCase):
    def test_bands_give_what_whole_pictures_give(self) -> None:
        for width, height in ((854, 480), (400, 600), (64, 34), (300, 201), (31, 40)):
            converter, frame = Converter(width, height, "yuv420p"), None
            for index, picture in enumerate(pictures(width, height, 60)):
                change, _ = converter.convert(picture)
                frame = change.apply(frame)
                whole = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format="yuv420p")
                for ours, theirs in zip(planes(frame), planes(whole), strict=True):
                    self.assertTrue(np.array_equal(ours, theirs), (width, height, index))

    def test_a_picture_is_given_back_when_the_next_one_is_there(self) -> None:
        converter = Converter(64, 34, "yuv420p")
        first, second = pictures(64, 34, 2)
        self.assertIsNone(converter.convert(first)[1])
        self.assertIs(converter.convert(second)[1], first)


class Settings(unittest.TestCase):
    def spec(self, codec: str, options: dict[str, str]) -> Any:
        return SimpleNamespace(codec=codec, width=1280, height=720, options=tuple(options.items()))

    def test_what_the_scene_has_chosen_wins(self) -> None:
        plain = engine.stream_options(self.spec("libx264", {"crf": "23"}), gif=False)
        ours = {"preset": "veryfast", "bf": "1", "b_strategy": "0", "subq": "1"}
        self.assertEqual(plain, {"crf": "23", **ours})
        chosen = engine.stream_options(self.spec("libx264", {"crf": "18", "preset": "slow"}), gif=True)
        self.assertEqual(chosen, {"crf": "18", "preset": "slow"})

    def test_the_background_is_that_of_manim(self) -> None:
        for settings in (
            {},
            {"background_color": "#123456"},
            {"background_color": "#FC6255", "background_opacity": 0.3},
            {"pixel_width": 401, "pixel_height": 33},
        ):
            camera = Camera(**settings)
            engine._init_any_background(camera)
            theirs = camera.background
            engine._init_background(camera)
            self.assertTrue(np.array_equal(camera.background, theirs), settings)
            self.assertEqual((camera.background.dtype, camera.background.shape), (theirs.dtype, theirs.shape))


class Film(unittest.TestCase):
    def spec(self, **changes: Any) -> Any:
        fields = {"container_format": "mp4", "codec": "libx264", "pixel_format": "yuv420p"}
        fields |= {"width": 128, "height": 96, "frame_rate": Fraction(15), "options": (), **changes}
        return SimpleNamespace(**fields)

    def test_a_lossless_film_decodes_to_the_pictures_that_went_in(self) -> None:
        sent = pictures(128, 96, 60)
        for container_format, codec, pixel_format, options in (
            ("mp4", "libx264", "yuv420p", {"qp": "0"}),
            ("webm", "libvpx-vp9", "yuv420p", {"lossless": "1", "deadline": "realtime", "row-mt": "1"}),
            ("mov", "qtrle", "argb", {}),
        ):
            spec = self.spec(container_format=container_format, codec=codec, pixel_format=pixel_format)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"film.{container_format}"
                film = Stream(path, spec, options)
                for picture in sent:
                    film.put(film.take(picture), 2)
                film.finish()
                with av.open(str(path)) as container:
                    decoded = [planes(frame.reformat(format=pixel_format)) for frame in container.decode(video=0)]
            self.assertEqual(len(decoded), 2 * len(sent))
            for index, frame in enumerate(decoded):
                whole = av.VideoFrame.from_ndarray(sent[index // 2], format="rgba").reformat(format=pixel_format)
                for ours, theirs in zip(frame, planes(whole), strict=True):
                    self.assertTrue(np.array_equal(ours, theirs), (codec, index))

    def test_a_film_is_the_same_whatever_memory_held_before(self) -> None:
        def films(options: str) -> set[str]:
            made = set()
            for byte in ("255", "170"):
                environment = {**os.environ, "MALLOC_PERTURB_": byte, "PYTHONPATH": str(RENDERER)}
                command = [sys.executable, "-B", "-c", ENCODE, options]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                made.add(done.stdout)
            return made

        self.assertEqual(len(films("ours")), 1)
        if engine._AVX512:
            self.assertGreater(len(films("x264's own choice")), 1, "x264 is mended: the option can go")

    def test_what_goes_wrong_on_a_thread_is_raised_in_the_scene(self) -> None:
        for broken in ("_convert", "_encode"):
            with tempfile.TemporaryDirectory() as folder, mock.patch.object(Stream, broken, side_effect=OSError("full")):
                film = Stream(Path(folder) / "film.mp4", self.spec(), {})
                with self.assertRaisesRegex(OSError, "full"):
                    for picture in pictures(128, 96, 60):
                        film.put(picture, 1)
                    film.finish()
                film.abort()

    def test_a_picture_of_another_size_is_refused_with_a_remedy(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            film = Stream(Path(folder) / "film.mp4", self.spec(), {})
            with self.assertRaisesRegex(ValueError, r"\(96, 128, 4\).*got \(96, 128, 3\).*before the first"):
                film.put(np.zeros((96, 128, 3), np.uint8), 1)
            film.abort()


if __name__ == "__main__":
    unittest.main()
