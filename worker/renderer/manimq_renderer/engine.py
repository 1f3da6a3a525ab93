"""How frames become a file: Manim's own writer, or one continuous stream.

Both draw with Manim's renderer, the same frames (``fast_paths.py``); they differ after a frame is drawn.

* ``ManimWriter``: the command's own encoder settings, pieces and joining. The
  file decodes to the command's frames, bit for bit.
* ``StreamWriter``: one stream for the whole scene, on threads of its own. The
  frames before encoding are the command's, byte for byte.

The hooks are for Manim 0.22; ``check_hooks`` fails the start on another shape.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
from manim import Scene, config
from manim.camera.camera import Camera
from manim.camera.three_d_camera import ThreeDCamera
from manim.renderer.cairo_renderer import CairoRenderer
from manim.scene.scene_file_writer import SceneFileWriter
from manim.utils.color import color_to_int_rgba
from numpy._core._multiarray_umath import __cpu_features__ as _processor

from .poster import Early, Poster
from .split import Splitter, join
from .stream import Stream

_SMALL_LINES_MAX = 480
"""Up to this height x264 spends more on handing work to threads than it gains, and moving lines a pixel wide need more
bits: with CRF 23 three of Manim's own examples had an SSIM below 0.99, with 20 none; a quarter more bytes, no more time."""

_COLUMNS = 16 * 8
"""x264 165 reads what was never written in a film whose width in macroblocks is no multiple of eight, where the
processor has AVX-512 (its sum of costs, ``mbtree``): 854 pixels are one. What it then gives depends on what the
process did before."""
_AVX512 = any(_processor.get(name) for name in ("AVX512_SKX", "X86_V4"))

_SHARED_EVERY_S = 0.25
"""Between the reports of one of several drawing processes: all of them share the job's bound."""

Report = Callable[[dict[str, Any]], None]


_COVERED = frozenset(
    {("libx264", "yuv420p"), ("libvpx-vp9", "yuv420p"), ("libvpx-vp9", "yuva420p"), ("qtrle", "argb")}
)
"""Codecs and pixel formats of Manim's own choice: mp4, mov and gif; webm; with alpha."""
_MANIM_OPTIONS = frozenset({("crf", "23")})
"""Encoder options that Manim sets by itself."""


def stream_options(spec: Any, gif: bool, threads: int | None = None) -> dict[str, str]:
    """Encoder settings of the stream: ours, and over them what the scene has chosen.

    ``threads`` are for x264 to use; None: as many as it thinks right.

    x264 ``veryfast`` is 2-4 dB below the default preset at a level where nobody
    can see it, at half the time; VP9 ``realtime`` 1.5 dB at a quarter. With one
    B-frame at fixed places and one step of motion search less, x264 takes a quarter to a
    third less time than plain ``veryfast`` and shows as much, for 6 to 22 % more bytes.
    """
    options: dict[str, str] = {}
    chosen = dict(option for option in spec.options if option not in _MANIM_OPTIONS)
    if spec.codec == "libx264":
        # The colours of a GIF are counted in this film.
        small = spec.height <= _SMALL_LINES_MAX
        options = {"crf": "15" if gif else "20" if small else "23"}
        if "preset" not in chosen:
            options |= {"preset": "veryfast", "bf": "1", "b_strategy": "0", "subq": "1"}
        if small:
            options["threads"] = "1"
        elif threads is not None:
            options["threads"] = str(threads)
        if _AVX512 and -(-spec.width // 16) * 16 % _COLUMNS:
            options["x264-params"] = "asm=AVX2"  # a thirtieth more of the encoder's time
    elif spec.codec == "libvpx-vp9":
        options = {"crf": "23", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
    return {**options, **chosen}


class Meter:
    """Counts plays and frames, and reports at most ten times a second."""

    def __init__(self, report: Report, every_s: float = 0.1) -> None:
        self._report = report
        self._every_s = every_s
        self._drawn: int | None = None
        self._reported = 0.0
        self.animation = 0
        self.animation_frames = 0
        self.animation_frames_total: int | None = None
        self.frames = 0
        self.first_play: float | None = None
        self.engine = "manim"
        self.encode_s = 0.0
        self._encode_began = 0.0

    def begin(self, animation: int, frames_total: int | None) -> None:
        """A play begins; ``frames_total`` where its length is known."""
        if self.first_play is None:
            self.first_play = time.monotonic()
            self._report({"e": "stage", "stage": "rendering"})
        self.animation = animation
        self.animation_frames = 0
        self.animation_frames_total = frames_total
        self._say(False)

    def add(self, frames: int) -> None:
        """Frames were drawn."""
        self.frames += frames
        self.animation_frames += frames
        self._say(False)

    def share(self) -> None:
        """Several processes draw from here on: each reports what it has drawn itself."""
        self._drawn = 0
        self._every_s = _SHARED_EVERY_S

    def pass_by(self, frames: int) -> None:
        """Frames of the scene, whoever draws them."""
        self.frames += frames
        self.animation_frames += frames

    def drew(self, frames: int) -> None:
        """Frames that this process has drawn and nobody else reports."""
        assert self._drawn is not None
        self._drawn += frames
        self._say(False)

    def say_last(self) -> None:
        """This process ends."""
        self._say(True)

    def end(self) -> None:
        """A play ended."""
        self._say(True)

    def finishing(self) -> None:
        """All frames are drawn; what is left is to encode and to join."""
        self._encode_began = time.monotonic()
        self._report({"e": "stage", "stage": "encoding"})

    def finished(self) -> None:
        """The file is complete."""
        self.encode_s = time.monotonic() - self._encode_began

    def _say(self, now: bool) -> None:
        clock = time.monotonic()
        if not now and clock - self._reported < self._every_s:
            return
        self._reported = clock
        frames = self.frames
        if self._drawn is not None:
            frames, self._drawn = self._drawn, 0
            if frames == 0:
                return
        self._report(
            {
                "e": "frames" if self._drawn is None else "drawn",
                "animation": self.animation,
                "frames": frames,
                "animation_frames": self.animation_frames,
                "animation_frames_total": self.animation_frames_total,
            }
        )


def _frames_of_play(scene: Scene) -> int | None:
    """How many frames the play that now begins will have; None if only it knows."""
    if scene.stop_condition is not None:
        return None
    step = 1 / config["frame_rate"]
    if scene.is_current_animation_frozen_frame():
        return int(scene.duration / step)
    return math.ceil(scene.duration / step)


class ManimWriter(SceneFileWriter):
    """Manim's own writer, counted."""

    meter: Meter
    scene: Scene
    early: Early

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._piece_frames: dict[str, int] = {}
        self.poster = Poster()

    def begin_animation(self, allow_write: bool = False, **kwargs: Any) -> None:
        self.meter.begin(kwargs["animation_index"] + 1, _frames_of_play(self.scene) if allow_write else None)
        super().begin_animation(allow_write, **kwargs)

    def write_frame(self, pixels: Any, *, repeat: int = 1) -> None:
        self.early.look(self.poster, pixels)
        super().write_frame(pixels, repeat=repeat)
        self.meter.add(repeat)

    def end_animation(self, allow_write: bool = False) -> None:
        super().end_animation(allow_write)
        self._count_piece(allow_write)
        if allow_write:
            self._offer_poster()
        self.meter.end()

    def _offer_poster(self) -> None:
        self.poster.offer(self.scene.renderer.camera.pixel_array)

    def _count_piece(self, drawn: bool) -> None:
        piece = self.partial_movie_files[-1] if self.partial_movie_files else None
        if piece is None:
            return  # skipped, or no film at all
        if drawn:
            self._piece_frames[piece] = self.meter.animation_frames
        else:
            # Manim found an equal play and shows its piece again.
            self.meter.add(self._piece_frames.get(piece, 0))

    def finish(self) -> None:
        self.meter.finishing()
        super().finish()
        self.meter.finished()

    def take_frame(self, pixels: Any) -> Any:
        """A copy of the camera's picture that the writer may keep."""
        return pixels.copy()

    def section_films(self) -> list[Path]:
        """The finished film of each section, if they were asked for."""
        return [self.sections_output_dir / section.video for section in self.sections if section.video is not None]


class StreamWriter(ManimWriter):
    """All plays into one stream: no pieces, no joining, no waiting between plays."""

    _encoder: Stream | None = None
    _film: Path
    _open = False

    def open_partial_movie_stream(self, **kwargs: Any) -> None:
        if self._encoder is None:
            spec, is_gif = self.video_encoder, self.output_spec.is_gif
            # A GIF is made of a finished film: its palette is that of all pictures.
            self._film = self.movie_file_path.with_suffix(f".{spec.container_format}")
            self._encoder = Stream(self._film, spec, stream_options(spec, is_gif))
        self._open = True

    def close_partial_movie_stream(self) -> None:
        self._open = False

    def write_frame(self, pixels: Any, *, repeat: int = 1) -> None:
        if self._open and self._encoder is not None:
            self.early.look(self.poster, pixels)  # the stream may change it from here on
            self._encoder.put(pixels, repeat)
            self.meter.add(repeat)

    def take_frame(self, pixels: Any) -> Any:
        return pixels.copy() if self._encoder is None else self._encoder.take(pixels)

    def finish(self) -> None:
        self.meter.finishing()
        if self._encoder is not None:
            self._encoder.finish()
            self._complete()
        self.meter.finished()

    def _complete(self) -> None:
        # Manim's own joining makes the GIF of a finished silent film, or adds
        # the sound to it: give it this one, as the only piece.
        self.partial_movie_files = [str(self._film)]
        self.combine_to_movie()
        if self.subcaptions:
            self.write_subcaption_file()

    def _write_concat_manifest(self, input_files: list[str]) -> None:
        pass

    def combine_files(
        self, input_files: list[str], output_file: Path, create_gif: bool = False, includes_sound: bool = False
    ) -> None:
        if create_gif:
            super().combine_files(input_files, output_file, create_gif, includes_sound)

    def abort_encode_jobs(self, reraise_encoder_failures: bool = False) -> None:
        if self._encoder is not None:
            self._encoder.abort()


class SectionWriter(StreamWriter):
    """A stream for each section, and Manim's own joining of them: both are then there."""

    # What a single stream has no use for.
    _write_concat_manifest = SceneFileWriter._write_concat_manifest
    combine_files = SceneFileWriter.combine_files

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._films: list[Path] = []
        self._section: Any = None

    def open_partial_movie_stream(self, **kwargs: Any) -> None:
        if self.sections[-1] is not self._section:
            self._finish_section()
            self._section = self.sections[-1]
            spec = self.video_encoder
            self._films.append(self.output_plan.segment_path(f"section{len(self._films):04}"))
            self._encoder = Stream(self._films[-1], spec, stream_options(spec, gif=False))
        self._open = True

    def _finish_section(self) -> None:
        if self._encoder is not None:
            self._encoder.finish()
            self._encoder = None

    def finish(self) -> None:
        self.meter.finishing()
        self._finish_section()
        if self._films:
            self._complete()
        self.meter.finished()

    def _complete(self) -> None:
        self.partial_movie_files = [str(film) for film in self._films]
        self.combine_to_movie()
        if self.subcaptions:
            self.write_subcaption_file()

    def section_films(self) -> list[Path]:
        return self._films


class SplitWriter(StreamWriter):
    """A stream in pieces, each drawn and encoded by a fork of the scene (``split.py``)."""

    splitter: Splitter
    _format = ""

    def begin_animation(self, allow_write: bool = False, **kwargs: Any) -> None:
        super().begin_animation(allow_write, **kwargs)
        if allow_write:
            frozen = self.scene.is_current_animation_frozen_frame()
            self.splitter.begin_play(1 if frozen else _frames_of_play(self.scene))

    def open_partial_movie_stream(self, **kwargs: Any) -> None:
        if not self._format:
            self.meter.share()
            self._format = self.video_encoder.container_format
            self._film = self.movie_file_path.with_suffix(f".{self._format}")
            self._film.parent.mkdir(parents=True, exist_ok=True)
        self._open = True

    def write_frame(self, pixels: Any, *, repeat: int = 1) -> None:
        if self._open:
            self.meter.pass_by(repeat)
            self.splitter.put(self, pixels, repeat)

    def end_animation(self, allow_write: bool = False) -> None:
        super().end_animation(allow_write)
        self.splitter.end_play(self)

    def piece_path(self, number: int) -> Path:
        """Where a piece of the film is written."""
        return self._film.with_name(f"piece{number:05}.{self._format}")

    def open_piece(self, path: Path, shared: bool) -> None:
        """Begin a piece, in this process; ``shared``: others draw at the same time."""
        options = stream_options(self.video_encoder, self.output_spec.is_gif, threads=1 if shared else None)
        self._encoder = Stream(path, self.video_encoder, options)
        self._piece = path

    def encode(self, pixels: Any, repeat: int) -> None:
        """A picture of the piece."""
        assert self._encoder is not None
        self.early.look(self.poster, pixels)
        self._encoder.put(pixels, repeat)
        self.meter.drew(repeat)

    def close_piece(self) -> None:
        """The piece is complete."""
        assert self._encoder is not None
        self._encoder.finish()
        if not self.splitter.leads:
            super()._offer_poster()
            self.poster.leave(self._piece)
        self._encoder = None
        self.meter.say_last()

    def finish(self) -> None:
        pieces = self.splitter.finish(self)
        self.meter.finishing()
        if pieces:
            try:
                join(pieces, self._film, self._format, self.video_encoder.frame_rate)
            except ValueError:
                self.splitter.give_up()
            self.poster.take(self._film.parent)
            self._complete()
        self.meter.finished()

    def _count_piece(self, drawn: bool) -> None:
        pass

    def _offer_poster(self) -> None:
        if self._encoder is not None:
            super()._offer_poster()


def stream_can(settings: Any) -> bool:
    """What the stream covers: all films that the command makes by itself.

    What is left to Manim's own writer: pictures (nothing is encoded), image
    sequences, and films whose codec or pixel format the scene has chosen.
    """
    encoder = settings.video_encoder
    return (
        settings.plan.output.is_video
        and encoder is not None
        and (encoder.codec, encoder.pixel_format) in _COVERED
    )


_init_any_background = Camera.init_background


def _init_background(self: Camera) -> None:
    """One colour all over, as Manim makes it, a word and not a byte at a time."""
    plain = self.background_image is None and self.n_channels == 4 and self.pixel_array_dtype == "uint8"
    if not plain:
        _init_any_background(self)
        return
    rgba = color_to_int_rgba(self.background_color, self.background_opacity)
    word = np.array(rgba, np.uint8).view(np.uint32)
    self.background = np.full((self.pixel_height, self.pixel_width), word).view(np.uint8)
    self.background = self.background.reshape(self.pixel_height, self.pixel_width, 4)


def install(encoder: str, report: Report, splitter: Splitter | None = None, sections: bool = False) -> Meter:
    """Make every Cairo renderer of this process use our writers. Returns the meter."""
    meter = Meter(report)

    def init_scene(self: CairoRenderer, scene: Scene, session_spec: Any, settings: Any) -> None:
        writer_class = self._file_writer_class
        if writer_class is SceneFileWriter:
            if encoder == "fast" and stream_can(settings):
                writer_class = StreamWriter
                meter.engine = "stream"
                # Plays are hashed to find their pieces again; a stream has none.
                config.disable_caching = True
                if sections:
                    writer_class = SectionWriter
                elif splitter is not None and splitter.begin(self, settings):
                    writer_class = SplitWriter
                    _install_split(splitter)
            else:
                writer_class = ManimWriter
        self.file_writer = writer_class(settings)
        self.file_writer.meter = meter
        self.file_writer.scene = scene
        self.file_writer.early = Early(report)
        if writer_class is SplitWriter:
            self.file_writer.splitter = splitter

    CairoRenderer.init_scene = init_scene
    Camera.init_background = _init_background
    if encoder == "fast":
        CairoRenderer.render = _render
    return meter


def _render(self: CairoRenderer, scene: Scene, time: float, moving_mobjects: Any = None) -> None:
    self.update_frame(scene, moving_mobjects)
    take = getattr(self.file_writer, "take_frame", None)
    self.add_frame(self.get_frame() if take is None else take(self.camera.pixel_array))


def _install_split(splitter: Splitter) -> None:
    """Make the renderer of this process leave to others what they draw."""
    play = CairoRenderer.play

    def play_or_end(self: CairoRenderer, scene: Scene, *args: Any, **kwargs: Any) -> None:
        try:
            play(self, scene, *args, **kwargs)
        except BaseException:
            if not splitter.leads:
                splitter.fail()
            raise

    def render(self: CairoRenderer, scene: Scene, time: float, moving_mobjects: Any = None) -> None:
        if self.skip_animations:
            return
        if splitter.next_frame(self.file_writer):
            began = thread_time()
            self.update_frame(scene, moving_mobjects)
            picture = self.file_writer.take_frame(self.camera.pixel_array)
            splitter.drew(thread_time() - began)
            self.add_frame(picture)
        else:
            if isinstance(self.camera, ThreeDCamera):
                self.camera.reset_rotation_matrix()  # what drawing leaves behind in it
            self.time += 1 / self.camera.frame_rate
            self.file_writer.meter.pass_by(1)

    CairoRenderer.play = play_or_end
    CairoRenderer.render = render


def check_hooks() -> None:
    """Fail at the start, not in somebody's render, if Manim has another shape."""
    expected = {
        CairoRenderer.init_scene: ["self", "scene", "session_spec", "file_writer_settings"],
        CairoRenderer.play: ["self", "scene", "args", "kwargs"],
        CairoRenderer.render: ["self", "scene", "time", "moving_mobjects"],
        CairoRenderer.update_frame: ["self", "scene", "mobjects", "include_submobjects", "ignore_skipping", "kwargs"],
        CairoRenderer.add_frame: ["self", "frame", "num_frames"],
        CairoRenderer.freeze_current_frame: ["self", "duration"],
        CairoRenderer.save_static_frame_data: ["self", "scene", "static_mobjects"],
        CairoRenderer.scene_finished: ["self", "scene"],
        Camera.init_background: ["self"],
        SceneFileWriter.is_already_cached: ["self", "hash_invocation"],
        SceneFileWriter.save_image: ["self", "pixels"],
        SceneFileWriter.begin_animation: ["self", "allow_write", "animation_index", "file_path"],
        SceneFileWriter.end_animation: ["self", "allow_write"],
        SceneFileWriter.write_frame: ["self", "pixels", "repeat"],
        SceneFileWriter.open_partial_movie_stream: ["self", "animation_index", "file_path"],
        SceneFileWriter.close_partial_movie_stream: ["self"],
        SceneFileWriter.abort_encode_jobs: ["self", "reraise_encoder_failures"],
        SceneFileWriter.combine_files: ["self", "input_files", "output_file", "create_gif", "includes_sound"],
        SceneFileWriter._write_concat_manifest: ["self", "input_files"],
        SceneFileWriter.combine_to_movie: ["self"],
        SceneFileWriter.finish: ["self"],
    }
    for function, parameters in expected.items():
        found = list(inspect.signature(function).parameters)
        if found != parameters:
            raise RuntimeError(f"this Manim is not 0.22: {function.__qualname__} takes {found}")
