"""Takes a finished file from a dead job, and asks a sandboxed child what is in it.

A job may leave anything under the name that we expect: a link to somebody
else's file, a FIFO that blocks its reader, a file of holes, a page of HTML.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from . import hints, linux, walls
from .protocol import SECTIONS_MAX, read_line

MIME = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "gif": "image/gif",
    "png": "image/png",
}
# Names that libavformat gives to the container of each format.
_CONTAINER = {"mp4": "mp4", "webm": "webm", "mov": "mov", "gif": "gif"}


class Refused(Exception):
    """The file is not taken. ``reason`` is a failure class of the user."""

    def __init__(self, reason: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint or hints.OUTPUT


class NoFile(Refused):
    """There is none."""


@dataclass(frozen=True, slots=True)
class Media:
    """What the probe found in a file."""

    frames: int
    width: int
    height: int
    fps: float
    duration_s: float


FOLDER = ".manimq-out"
"""Where a job leaves its results. No file that comes with a job has a name that begins with a dot."""


def film_path(kind: str) -> str:
    """Where a job leaves its film or picture."""
    return f"{FOLDER}/result.{kind}"


def section_path(number: int, kind: str) -> str:
    """Where a job leaves the film of a section, counted from 1."""
    return f"{FOLDER}/section-{number:02}.{kind}"


POSTER = f"{FOLDER}/poster.jpg"
SUBTITLES = f"{FOLDER}/subtitles.srt"
EXTRA_BYTES_MAX = 1024 * 1024
EARLY = ".manimq-still.jpg"
"""Where a job that still draws leaves its early still: not among its results."""
EARLY_BYTES_MAX = 48 * 1024
"""In base64 it fits into a message to the worker."""
_POSTER_SIDE_MAX = 2048
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def read_subtitles(directory: int) -> int | None:
    """Open the subtitles that a dead job has left, if they are text."""
    try:
        fd = open_output(directory, SUBTITLES, EXTRA_BYTES_MAX)
    except Refused:
        return None
    try:
        text = os.pread(fd, EXTRA_BYTES_MAX + 1, 0).decode()
        if _NOT_IN_TEXT.search(text) is None and " --> " in text:
            return fd
    except UnicodeDecodeError:
        pass
    os.close(fd)
    return None


def read_poster(directory: int, answer: bytes) -> tuple[int, int, int] | None:
    """Open the still that the probe has looked at: descriptor, width and height."""
    try:
        poster = json.loads(answer)["poster"]
        width, height = int(poster["width"]), int(poster["height"])
        fd = open_output(directory, POSTER, EXTRA_BYTES_MAX)
        if poster["inode"] == os.fstat(fd).st_ino and 0 < width <= _POSTER_SIDE_MAX and 0 < height <= _POSTER_SIDE_MAX:
            return fd, width, height
        os.close(fd)
    except Exception:  # noqa: BLE001 - whatever the answer provokes: then there is none
        pass
    return None


def open_output(directory: int, path: str, bytes_max: int) -> int:
    """Open ``path`` below ``directory``, the folder of a job that is dead.

    Raises:
        Refused: it is missing, not a plain file of the job's own, or too big.
    """
    try:
        fd = linux.open_beneath(directory, path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NoFile("validation", "the render ended without leaving a file") from None
        raise Refused("sandbox_denied", "the output was refused: it is not a plain file") from None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise Refused("sandbox_denied", "the output was refused: it is not a plain file")
        if info.st_nlink != 1:
            raise Refused("sandbox_denied", "the output was refused: it has a second name")
        if info.st_size == 0:
            raise Refused("validation", "the render left an empty file")
        if info.st_size > bytes_max:
            raise Refused(
                "output_limit",
                f"the file has {info.st_size} bytes and the limit is {bytes_max}",
                hints.SIZE,
            )
        if info.st_blocks * 512 + 65536 < info.st_size:
            raise Refused("sandbox_denied", "the output was refused: it is full of holes")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _probe_image(fd: int) -> Media:
    from PIL import Image

    with os.fdopen(os.dup(fd), "rb") as file, Image.open(file, formats=["PNG"]) as image:
        image.verify()
        return Media(1, image.width, image.height, 0.0, 0.0)


def _probe_video(fd: int, kind: str) -> Media:
    with os.fdopen(os.dup(fd), "rb") as file:
        return _read_video(file, kind)


def _read_video(file: BinaryIO, kind: str) -> Media:
    import av

    with av.open(file, mode="r") as container:
        if _CONTAINER[kind] not in container.format.name.split(","):
            raise ValueError(f"container is {container.format.name}")
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.base_rate
        frames = sum(1 for packet in container.demux(stream) if packet.size > 0)
        if frames == 0 or not rate:
            raise ValueError("no frames")
        fps = float(rate)
        return Media(frames, stream.codec_context.width, stream.codec_context.height, fps, frames / fps)


def read_early(directory: int) -> bytes | None:
    """Copy the early still of a job that lives: what it writes there later is of no consequence."""
    try:
        fd = open_output(directory, EARLY, EARLY_BYTES_MAX)
    except Refused:
        return None
    try:
        jpeg = os.pread(fd, EARLY_BYTES_MAX + 1, 0)
    finally:
        os.close(fd)
    return jpeg if jpeg.startswith(b"\xff\xd8") and len(jpeg) <= EARLY_BYTES_MAX else None


def run_still(jpeg: bytes, reply: int, sample: Sample, filters: walls.Filters, address_space_bytes: int) -> None:
    """Body of the forked reader of an early still: says its size if it can be decoded. Never returns."""
    status = 1
    try:
        null = os.open("/dev/null", os.O_RDWR)
        reply = os.dup2(reply, 100)
        for target in (0, 1, 2):
            os.dup2(null, target)
        os.dup2(reply, 3)
        linux.close_all_from(4)
        sample.look_at_still()
        walls.confine_probe(filters, address_space_bytes)
        width, height = _size_of_still(io.BytesIO(jpeg))
        os.write(3, json.dumps([width, height]).encode())
        status = 0
    finally:
        os._exit(status)


def _size_of_still(file: BinaryIO) -> tuple[int, int]:
    """Decode a JPEG, whole."""
    from PIL import Image

    with Image.open(file, formats=["JPEG"]) as image:
        if max(image.size) > _POSTER_SIDE_MAX:
            raise ValueError(f"{image.width}×{image.height} pixels")
        image.load()
        return image.width, image.height


def _probe_poster(directory: int) -> dict[str, int] | None:
    """Decode the still, if there is one; a broken one is none."""
    try:
        fd = os.open(POSTER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)
        with os.fdopen(fd, "rb") as file:
            width, height = _size_of_still(file)
            return {"inode": os.fstat(fd).st_ino, "width": width, "height": height}
    except Exception:  # noqa: BLE001 - whatever a hostile file provokes
        return None


def run_probe(
    go: int, reply: int, sample: Sample, filters: walls.Filters, address_space_bytes: int
) -> None:
    """Body of the forked probe: drop everything, wait for the word, then look. Never returns.

    It is forked ahead of the job and looks at a file of ours, so that nobody waits for that
    later. Then it hears where a job will leave what, confines itself, and touches nothing of the
    job until the word comes. It opens the file by itself, and the guard checks that it is
    the one it holds.
    """
    status = 1
    try:
        null = os.open("/dev/null", os.O_RDWR)
        wanted = enumerate((null, null, null, go, reply))
        parked = {target: os.dup2(fd, 100 + target) for target, fd in wanted}
        for target, fd in parked.items():
            os.dup2(fd, target)
        linux.close_all_from(5)
        sample.look()
        line = read_line(3)
        if not line:
            os._exit(0)  # there will be no job
        job = json.loads(line)
        path, kind = job["path"], job["kind"]
        directory = os.open(walls.JOB_DIR, os.O_RDONLY | os.O_DIRECTORY)
        walls.confine_probe(filters, address_space_bytes)
        if os.read(3, 1) == b"g":
            found = _look(os.open(path, _LOOK, dir_fd=directory), kind)
            if kind != "png" and "error" not in found:
                found["poster"] = _probe_poster(directory)
                if job["sections"]:
                    found["sections"] = _look_at_sections(directory, kind)
            os.write(4, json.dumps(found).encode())
            status = 0
    finally:
        os._exit(status)


@dataclass(frozen=True, slots=True)
class Sample:
    """A film and a still of our own, for a probe to see its way once."""

    film: bytes
    still: bytes

    def look(self) -> None:
        """Read both as a job's are read."""
        _read_video(io.BytesIO(self.film), "mp4")
        self.look_at_still()

    def look_at_still(self) -> None:
        """Read the still alone."""
        _size_of_still(io.BytesIO(self.still))


_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def _look_at_sections(directory: int, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(1, SECTIONS_MAX + 1):
        try:
            fd = os.open(section_path(number, kind), _LOOK, dir_fd=directory)
        except FileNotFoundError:
            break
        found.append(_look(fd, kind))
        os.close(fd)
    return found


def _look(fd: int, kind: str) -> dict[str, Any]:
    inode = os.fstat(fd).st_ino
    try:
        media = _probe_image(fd) if kind == "png" else _probe_video(fd, kind)
    except BaseException as error:  # noqa: BLE001 - whatever a hostile file provokes
        # Of thirteen, the answer still fits into a pipe at once.
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"inode": inode, **asdict(media)}


def read_probe(answer: bytes, inode: int) -> Media:
    """Check the probe's answer. The probe has read hostile bytes: believe the form only."""
    return _checked(lambda: json.loads(answer), inode)


def read_sections(directory: int, answer: bytes, kind: str, bytes_max: int) -> Iterator[tuple[int, Media]]:
    """Open the films of sections that the probe has looked at.

    Raises:
        Refused: one of them is not what it must be.
    """
    for number in range(1, SECTIONS_MAX + 1):
        try:
            fd = open_output(directory, section_path(number, kind), bytes_max)
        except NoFile:
            return
        yield fd, _checked(lambda: json.loads(answer)["sections"][number - 1], os.fstat(fd).st_ino)


def _checked(read: Callable[[], Any], inode: int) -> Media:
    try:
        fields = read()
        if "error" in fields:
            raise ValueError(str(fields["error"]))
        if fields["inode"] != inode:
            raise ValueError("another file")
        media = Media(
            int(fields["frames"]),
            int(fields["width"]),
            int(fields["height"]),
            float(fields["fps"]),
            float(fields["duration_s"]),
        )
        if not (0 < media.frames < 2**31 and 0 < media.width < 2**16 and 0 < media.height < 2**16):
            raise ValueError("impossible sizes")
        if not (math.isfinite(media.fps) and media.fps >= 0):
            raise ValueError("impossible rate")
        if not (math.isfinite(media.duration_s) and media.duration_s >= 0):
            raise ValueError("impossible duration")
        return media
    except Exception as error:  # noqa: BLE001 - whatever the answer provokes is the file's doing
        text = str(error)[:300] or "no answer"
        raise Refused(
            "sandbox_denied", f"the output was refused: it is not what was asked for ({text})"
        ) from None
