"""One film on several cores: exact forks of the scene, pieces joined without re-encoding.

    leader (the job: runs the scene, draws next to nothing)
       ├─ fork ─► drawer: draws and encodes the frames from here to its end, then exits
       ├─ fork ─► drawer …                    each into a file of its own
       └─ joins the files, packet by packet

The leader runs every update of every frame and leaves out the drawing. A drawer inherits the
state of the scene at its first frame, so its pictures are those that the serial render has at that
place, byte for byte; and as it ends with its play at the latest, code in ``construct`` runs once. What a
play draws once and shows all the time (its static picture) is drawn by the leader, at the
moment when the serial render draws it. Plays of a few frames are drawn by the leader as well and go
along with the next drawer: a process and a key frame for each would cost more than they save.

A film begins alone, on the three threads of ``stream.py``, which keep two cores busy with most
scenes. Only when what was measured on its first frames says that several processes are
faster (``Cost.gain``) does it go on in pieces. Only what can be told to be exact is split
(``Splitter.begin``), only as many drawers live as the job may take cores, and each fork is granted by the
guard (``gate.py``). When one is refused, this process draws the rest itself. When a drawer fails,
whatever the reason, the job says ``alone`` and the guard runs it again on one core: so errors are
those of the serial render.
"""

from __future__ import annotations

import gc
import os
import random
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
from manim import config
from manim.camera.camera import Camera
from manim.camera.moving_camera import MovingCamera
from manim.camera.three_d_camera import ThreeDCamera
from manim.renderer.cairo_renderer import CairoRenderer

from .poster import Poster
from .protocol import GAVE_UP

PIECES_MAX = 4096
"""Of one film: each is a fork, and a file until they are joined."""
GAIN_MIN = 1.25
"""How many times faster the pieces must look; less would be lost in what is not counted."""
_LOOK_AFTER = (8, 1.0)
"""Frames, and processor seconds: earlier the encoder has hardly begun, and its cost is not known."""
_LOOK_EVERY_FRAMES = 4
_EXTRA = 1.2
"""What all drawers use of processor time, in that of the serial render: copied pages, encoders
that start, updates that run twice. Measured 1.16 to 1.22 at 1080p60."""
_PIECE_S = 0.8
"""Processor time that a piece should take: some fifty times what a fork costs."""
_PIECE_FRAMES = (4, 240)
_OWN_FRAMES_MAX = 8
"""A play of so many pictures is drawn by the leader, if they are cheap."""
_OWN_S = 0.1
_OWN_BYTES_MAX = 64 * 1024 * 1024
"""Pictures that the leader has drawn and that wait for the next drawer."""

_CAMERAS = (Camera, MovingCamera, ThreeDCamera)
"""Draw each picture from the scene's state alone, and change nothing of it."""
_LOOKS_AT_PICTURES = re.compile(
    r"\b(pixel_array|get_frame|get_image|show_frame|capture_mobjects?|SVGMobject|update_frame|file_writer|"
    r"write_frame|add_frame|open|write_text|write_bytes|[tT]hread\w*|CairoRenderer)\b"
)
"""Words of a source that may depend on what was drawn, on files or on threads: not split."""


class _Role(Enum):
    ALONE = 1
    LEADER = 2
    DRAWER = 3


@dataclass(slots=True)
class Cost:
    """Processor seconds of the frames so far: of all threads, of the scene's, and of drawing in it."""

    frames: int = 0
    drawing_s: float = 0.0
    scene_s: float = 0.0
    all_s: float = 0.0

    def gain(self, cores: int) -> float:
        """How many times faster pieces would be than one process on so many cores."""
        update_s = max(0.0, self.scene_s - self.drawing_s)
        serial = max(self.scene_s, self.all_s / cores)
        pieces = max(update_s, (self.all_s * _EXTRA + update_s) / cores)
        return serial / pieces if pieces > 0 else 0.0


class Splitter:
    """Decides who draws which frames of one film.

    ``say`` is the job's word to the guard. ``gain_min`` is for tests.
    """

    def __init__(self, cores: int, say: Callable[[dict[str, Any]], None], gain_min: float = GAIN_MIN) -> None:
        self._cores = cores
        self._say = say
        self._gain_min = gain_min
        self._role = _Role.ALONE
        self._may_split = False
        self._live: dict[int, int] = {}
        """Drawers, and how many frames each was to draw."""
        self._pieces: list[Path] = []
        self._piece_open = False
        self._cost = Cost()
        self._began: tuple[float, float] | None = None
        self._piece_frames = 0
        self._own: list[tuple[Any, int]] = []
        self._own_max = 0
        self._own_frames_max = 0
        self._draws_this_play = False
        self._left = 0
        self._play_left: int | None = None
        self._own_files = Path()
        self.formulas_of_leader: Path | None = None
        """In a drawer: where its leader keeps the formulas that are set."""
        self.waits = False
        """Whether the leader waits for a drawer: where it is says little then."""

    # ------------------------------------------------------------ whether

    def read_source(self, text: str) -> None:
        """Look for what would make a split inexact."""
        self._may_split = self._cores > 1 and _LOOKS_AT_PICTURES.search(text) is None

    def trust(self) -> None:
        """The scene is a template of ours, which looks at no pictures, files or threads."""
        self._may_split = self._cores > 1

    def begin(self, renderer: CairoRenderer, settings: Any) -> bool:
        """Whether the film that ``renderer`` is about to make may be split; asked once."""
        spec = settings.video_encoder
        may, self._may_split = self._may_split, False
        if (
            may
            and (spec.codec, spec.pixel_format) == ("libx264", "yuv420p")
            and type(renderer) is CairoRenderer
            and type(renderer.camera) in _CAMERAS
        ):
            self._own_max = max(1, _OWN_BYTES_MAX // (spec.width * spec.height * 4))
            self._may_split = True
        return self._may_split

    def _pays(self) -> bool:
        """Whether pieces are faster, by what the frames so far have cost."""
        assert self._began is not None
        cost = self._cost
        if cost.frames < _LOOK_AFTER[0] or cost.frames % _LOOK_EVERY_FRAMES:
            return False
        scene_s, all_s = time.thread_time() - self._began[0], time.process_time() - self._began[1]
        cost.scene_s, cost.all_s = scene_s, all_s
        if all_s < _LOOK_AFTER[1]:
            return False
        frame_s = all_s / cost.frames
        if cost.gain(self._cores) < self._gain_min or frame_s <= 0:
            return False
        drawing_s = max(1e-6, cost.drawing_s / cost.frames)
        self._own_frames_max = min(_OWN_FRAMES_MAX, self._own_max, int(_OWN_S / drawing_s))
        self._size_pieces(frame_s)
        return True

    def _size_pieces(self, frame_s: float) -> None:
        low, high = _PIECE_FRAMES
        self._piece_frames = min(high, max(low, round(_PIECE_S / max(1e-6, frame_s))))

    @property
    def forked(self) -> bool:
        """Whether other processes draw, or have drawn, parts of this film."""
        return len(self._pieces) > 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that runs the scene to its end."""
        return self._role is not _Role.DRAWER

    # ------------------------------------------------------------ a play

    def begin_play(self, pictures: int | None) -> None:
        """A play begins, of so many different pictures; None if only it knows."""
        if self._role is _Role.DRAWER:
            return
        self._play_left = pictures
        self._left = 0
        self._draws_this_play = pictures is not None and pictures <= self._own_frames_max
        if self._began is None:
            self._began = time.thread_time(), time.process_time()

    def next_frame(self, writer: Any) -> bool:
        """A frame is due, all its updates done. Whether this process draws it."""
        if self._role is _Role.DRAWER:
            return True
        if self._role is _Role.ALONE and self._may_split and self._pays():
            self._may_split = False
            self._close_piece(writer)
            self._role = _Role.LEADER
        if self._role is _Role.LEADER and not self._draws_this_play:
            if self._left == 0:
                self._left = self._piece_size()
                if self._fork(writer):
                    return True
            self._left -= 1
        if self._play_left is not None:
            self._play_left -= 1
        return self._role is _Role.ALONE or self._draws_this_play

    def drew(self, seconds: float) -> None:
        """Drawing one frame took so much of the scene's processor time."""
        self._cost.frames += 1
        self._cost.drawing_s += seconds

    def _piece_size(self) -> int:
        if self._play_left is None:
            return self._piece_frames
        pieces = max(1, -(-self._play_left // self._piece_frames))
        return max(1, -(-self._play_left // pieces))

    def put(self, writer: Any, pixels: Any, repeat: int) -> None:
        """A picture that this process has drawn. A drawer ends with its last one."""
        if self._role is _Role.LEADER and len(self._own) >= self._own_max and self._fork(writer):
            self._end_piece(writer)
        if self._role is _Role.LEADER:
            self._own.append((pixels, repeat))
            return
        if not self._piece_open:
            self._open_piece(writer, self._next_piece(writer))
        writer.encode(pixels, repeat)
        if self._role is _Role.DRAWER:
            self._left -= 1
            if self._left == 0:
                self._end_piece(writer)

    def end_play(self, writer: Any) -> None:
        """A play is over."""
        if self._role is _Role.DRAWER:
            self._end_piece(writer)

    # ------------------------------------------------------------ pieces and forks

    def _next_piece(self, writer: Any) -> Path:
        self._pieces.append(writer.piece_path(len(self._pieces)))
        return self._pieces[-1]

    def _open_piece(self, writer: Any, piece: Path) -> None:
        writer.open_piece(piece, shared=self._role is _Role.DRAWER)
        self._piece_open = True
        for own in self._own:
            writer.encode(*own)
        self._own.clear()

    def _close_piece(self, writer: Any) -> None:
        if self._piece_open:
            self._piece_open = False
            writer.close_piece()

    def _fork(self, writer: Any) -> bool:
        """Fork a drawer for what comes now. True in it. If it is refused, this process draws from now on."""
        numbers = random.getstate()
        while True:
            self._reap(len(self._live) >= self._cores)
            if threading.active_count() > 1 or len(self._pieces) >= PIECES_MAX:
                self._role = _Role.ALONE
                return False
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                pid = os.fork()
                break
            except OSError:
                if not self._live:
                    self._role = _Role.ALONE
                    return False
                self._cores = len(self._live)  # more are not granted
        piece = self._next_piece(writer)
        if pid:
            self._live[pid] = self._left
            self._own.clear()
            return False
        try:
            self._role = _Role.DRAWER
            writer.poster = Poster()  # of what it draws itself
            random.setstate(numbers)  # CPython reseeds it in a forked child
            gc.freeze()  # no page of the leader's is copied for the collector's sake
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)  # what updates print is printed by the leader
            os.dup2(null, 2)
            # Manim writes a file for each text and looks whether it is there: the leader's may be half written.
            # The same for formulas, which only the leader asks for (``tex_client.py``).
            self.formulas_of_leader = config.get_dir("tex_dir")
            self._own_files = piece.with_suffix("")
            config.text_dir = config.tex_dir = self._own_files
            self._open_piece(writer, piece)
        except BaseException:  # noqa: BLE001 - the guard runs the job again
            self.fail()
        return True

    def _end_piece(self, writer: Any) -> NoReturn:
        status = GAVE_UP
        try:
            self._close_piece(writer)
            shutil.rmtree(self._own_files, ignore_errors=True)
            status = 0
        finally:
            os._exit(status)

    def fail(self) -> NoReturn:
        """A drawer cannot go on. Its leader will notice."""
        os._exit(GAVE_UP)

    def give_up(self) -> NoReturn:
        """Have the job run again on one core. A scene cannot catch this."""
        self._say({"e": "alone"})
        os._exit(GAVE_UP)

    def _reap(self, wait: bool) -> None:
        while self._live:
            self.waits = wait
            pid, status, usage = os.wait4(-1, 0 if wait else os.WNOHANG)
            self.waits = False
            if pid == 0:
                return
            frames = self._live.pop(pid, 0)
            if status != 0:
                self.give_up()
            if frames:
                self._size_pieces((usage.ru_utime + usage.ru_stime) / frames)
            wait = False

    # ------------------------------------------------------------ the end

    def finish(self, writer: Any) -> list[Path]:
        """All drawn: waits for the drawers. The pieces in their order, each complete."""
        if self._own:
            self._role = _Role.ALONE
            self._open_piece(writer, self._next_piece(writer))
        self._close_piece(writer)
        while self._live:
            self._reap(True)
        return self._pieces


def join(pieces: list[Path], film: Path, container: str, rate: Fraction) -> None:
    """One film of many, ``rate`` frames a second, without touching a picture. The pieces are gone afterwards.

    Raises:
        ValueError: they were not encoded alike.
    """
    if len(pieces) == 1:
        os.rename(pieces[0], film)
        return
    delay = max(_decoding_delay(piece) for piece in pieces)
    with av.open(str(film), "w", format=container) as joined:
        stream, head, frames = None, b"", 0
        for piece in pieces:
            with av.open(str(piece)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = joined.add_stream_from_template(video)
                    head = video.codec_context.extradata
                if video.codec_context.extradata != head:
                    raise ValueError("the pieces of the film were not encoded alike")
                tick = 1 / rate / video.time_base
                if tick.denominator != 1:
                    raise ValueError(f"a frame has no whole number of ticks of {video.time_base}")
                offset = frames * tick.numerator
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue  # the end
                    packet.pts += offset
                    # A short piece has less delay than others: all get that of the one that has most.
                    packet.dts = (frames * tick.numerator) - delay
                    packet.stream = stream
                    joined.mux(packet)
                    frames += 1
            piece.unlink()


def _decoding_delay(piece: Path) -> int:
    """By how many ticks decoding begins before showing."""
    with av.open(str(piece)) as source:
        return max(0, -next(source.demux(source.streams.video[0])).dts)
