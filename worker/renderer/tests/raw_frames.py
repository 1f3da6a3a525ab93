"""Prints a checksum of every frame before encoding: ``raw_frames.py FILE bare|fast FPS FORMAT``.

``FORMAT`` is Manim's own word, with ``+alpha`` for a transparent film.

``bare`` is Manim as it is; ``fast`` is our stream writer in the same process
shape, without a sandbox around it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from manim import config  # noqa: E402
from manim.manager import Manager  # noqa: E402
from manim.scene.video_segment_encoder import VideoSegmentEncoder  # noqa: E402

from manimq_renderer import engine, scene, stream  # noqa: E402


def main(path: str, which: str, fps: str, kind: str) -> None:
    sums: list[str] = []

    def note(pixels: Any, repeat: int) -> None:
        sums.extend([hashlib.md5(pixels.tobytes()).hexdigest()] * repeat)

    if which == "bare":
        write_frame = VideoSegmentEncoder.write_frame

        def noted(self: Any, pixels: Any, *, repeat: int = 1) -> None:
            note(pixels, repeat)
            write_frame(self, pixels, repeat=repeat)

        VideoSegmentEncoder.write_frame = noted
    else:
        put = stream.Stream.put

        def noted_put(self: Any, pixels: Any, repeat: int) -> None:
            note(pixels, repeat)
            put(self, pixels, repeat)

        stream.Stream.put = noted_put
        engine.install("fast", lambda event: None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        config.notify_outdated_version = False
        config.progress_bar = "none"
        config.verbosity = "ERROR"
        config.quality = "low_quality"
        config.frame_rate = float(fps)
        config.format = kind.removesuffix("+alpha")
        config.transparent = kind.endswith("+alpha")
        config.input_file = path
        module = scene.load_module(path, Path(path).read_text(encoding="utf-8"))
        instance = scene.choose_scene(module, None)()
        Manager(instance)
        instance.render()
        film = Path(instance.renderer.file_writer.final_file_path)
        assert film.stat().st_size > 0 and film.suffix == f".{config.format}", film
    print("\n".join(sums))


main(*sys.argv[1:5])
