"""Prints a checksum of every frame before encoding: ``raw_frames.py FILE bare|fast|split FPS FORMAT [SCENE]``.

``FORMAT`` is Manim's own word, with ``+alpha`` for a transparent film.

``bare`` is Manim as it is; ``fast`` is our stream writer in the same process
shape, without a sandbox around it; ``split`` is that with its pictures drawn by
forks of the scene. The last line is what a probe counts in the film.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av  # noqa: E402
import tqdm  # noqa: E402
from manim import config  # noqa: E402
from manim.manager import Manager  # noqa: E402
from manim.scene.video_segment_encoder import VideoSegmentEncoder  # noqa: E402

from manimq_renderer import engine, fast_paths, scene, split, stream  # noqa: E402


def main(path: str, which: str, fps: str, kind: str, name: str | None = None) -> None:
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
        tqdm.tqdm.monitor_interval = 0  # a thread, in the way of forks
        splitter = None
        if which == "split":
            splitter = split.Splitter(3, lambda event: None, gain_min=0.0)
            split._LOOK_AFTER = (4, 0.0)
            splitter.read_source(Path(path).read_text(encoding="utf-8"))
            keep_sums_of_pieces(sums)
        fast_paths.install()
        engine.install("fast", lambda event: None, splitter)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        config.notify_outdated_version = False
        config.progress_bar = "none"
        config.verbosity = "ERROR"
        config.quality = "low_quality"
        config.frame_rate = float(fps)
        config.seed = 1
        config.format = kind.removesuffix("+alpha")
        config.transparent = kind.endswith("+alpha")
        config.input_file = path
        module = scene.load_module(path, Path(path).read_text(encoding="utf-8"))
        instance = scene.choose_scene(module, name)()
        Manager(instance)
        instance.render()
        film = Path(instance.renderer.file_writer.final_file_path)
        assert film.stat().st_size > 0 and film.suffix == f".{config.format}", film
        if which == "split":
            assert splitter.forked, "this film was not split"
            sums = [line for piece in sorted(Path(folder).glob("*.sums")) for line in piece.read_text().split()]
            print(len(list(Path(folder).glob("*.sums"))), "pieces", file=sys.stderr)
        with av.open(str(film)) as container:
            frames = list(container.decode(video=0))
        times = [frame.pts * frame.time_base for frame in frames]
        steps = {later - earlier for earlier, later in zip(times, times[1:])}
        # Not all formats can say every time exactly, nor does the command when it joins its pieces.
        assert which != "split" or (times[0] == 0 and len(steps) <= 1), f"uneven: {steps}"
    print("\n".join(sums))
    print(len(frames))


def keep_sums_of_pieces(sums: list[str]) -> None:
    """Have each process leave its sums beside the film, in the order of the pieces."""
    folder = os.getcwd
    open_piece, close_piece = engine.SplitWriter.open_piece, engine.SplitWriter.close_piece

    def opened(self: Any, path: Path, shared: bool) -> None:
        sums.clear()
        self.test_sums = Path(folder()) / f"{path.name}.sums"
        open_piece(self, path, shared)

    def closed(self: Any) -> None:
        self.test_sums.write_text("\n".join(sums))
        close_piece(self)

    engine.SplitWriter.open_piece = opened
    engine.SplitWriter.close_piece = closed


main(*sys.argv[1:6])
