"""One continuous film: pictures in, packets out, on threads of their own.

    scene (draws) ── converter (RGBA to YUV) ── encoder (x264, container)

All heavy steps let other threads run Python meanwhile, so the three share the
cores. The queues between them are short: memory is bounded, and a scene that
draws faster than the encoder works waits for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import av
import numpy as np

from .pictures import Change, Converter

_PICTURES_WAITING = 4
"""Drawn pictures that may wait for the converter: 3.7 MB each at 720p."""
_CHANGES_WAITING = 4
"""Converted pictures that may wait for the encoder: at most 1.4 MB each at 720p."""


_SWITCH_S = 0.001


class Stream:
    """One film being written."""

    def __init__(self, path: Path, spec: Any, options: dict[str, str]) -> None:
        """Open the file; ``spec`` is Manim's resolved encoder, ``options`` take the place of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", format=spec.container_format)
        self._stream = self._container.add_stream(spec.codec, rate=spec.frame_rate, options=options)
        self._stream.width, self._stream.height = spec.width, spec.height
        self._stream.pix_fmt = spec.pixel_format
        self._time_base = Fraction(spec.frame_rate.denominator, spec.frame_rate.numerator)
        self._shape = (spec.height, spec.width, 4)
        self._converter = Converter(spec.width, spec.height, spec.pixel_format)
        self._frame: Any = None
        self._pts = 0
        self._free: Queue[Any] = Queue()
        self._pictures: Queue[Any] = Queue(_PICTURES_WAITING)
        self._changes: Queue[Any] = Queue(_CHANGES_WAITING)
        self._error: BaseException | None = None
        self._aborted = False
        self._threads = [
            Thread(target=self._work, args=work, name=name, daemon=True)
            for name, *work in (
                ("stream-converter", self._pictures, self._convert, self._changes),
                ("stream-encoder", self._changes, self._encode, None),
            )
        ]
        # A thread that comes back from C waits so long for one that runs Python.
        sys.setswitchinterval(_SWITCH_S)
        for thread in self._threads:
            thread.start()

    def take(self, pixels: Any) -> Any:
        """Copy a picture into a buffer that is free again; fresh pages are what costs."""
        try:
            buffer = self._free.get_nowait()
        except Empty:
            return pixels.copy()
        if buffer.shape != pixels.shape:
            return pixels.copy()
        np.copyto(buffer, pixels)
        return buffer

    def put(self, pixels: Any, repeat: int) -> None:
        """Write a picture ``repeat`` times. It belongs to the stream from here on."""
        if self._error is not None:
            raise self._error
        if pixels.shape != self._shape or pixels.dtype != np.uint8:
            raise ValueError(
                f"a frame must have the shape {self._shape} and bytes, as the film began; "
                f"got {pixels.shape} and {pixels.dtype}: set sizes before the first animation"
            )
        self._pictures.put((pixels, repeat))

    def finish(self) -> None:
        """Everything out, file closed; raises what went wrong on the way."""
        self._end()
        if self._error is not None:
            raise self._error
        self._container.close()

    def abort(self) -> None:
        """Stop the threads; the file is worthless."""
        self._aborted = True
        self._end()

    def _end(self) -> None:
        self._pictures.put(None)
        for thread in self._threads:
            thread.join()

    # ------------------------------------------------------------ the threads

    def _work(self, queue: Queue[Any], step: Callable[..., None], following: Queue[Any] | None) -> None:
        """Take items until the end of the film, and pass the end on."""
        while True:
            item = queue.get()
            if self._error is None and not self._aborted:
                try:
                    step(*((None, 0) if item is None else item))
                except BaseException as error:  # noqa: BLE001 - raised again in the scene's thread
                    self._error = error
            if item is None:
                break
        if following is not None:
            following.put(None)

    def _convert(self, pixels: Any, repeat: int) -> None:
        if pixels is None:
            return
        change, free = self._converter.convert(pixels)
        if free is not None:
            self._free.put(free)
        self._changes.put((change, repeat))

    def _encode(self, change: Change | None, repeat: int) -> None:
        if change is None:
            self._mux(None)
            return
        # The encoders have copied what they still need of the last frame.
        frame = self._frame = change.apply(self._frame)
        for _ in range(repeat):
            frame.pts = self._pts
            frame.time_base = self._time_base
            self._pts += 1
            self._mux(frame)

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
