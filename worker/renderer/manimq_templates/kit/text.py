"""Text that stays in its box: it shrinks a little, then wraps, then shrinks as far as it can be read, then is cut."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from typing import Any

from manim import DOWN, MathTex, Text, VGroup, VMobject, config

from .layout import Box, fit
from .theme import Theme
from .wrap import LINE, Broken, broken

_REFERENCE = "Éy"
"""Drawn before each line and taken away: they tell where its base line is."""
_LENGTH_MAX = 1200
_PANGO_WIDTH = 100_000
_MEASURED_AT = 24.0

LATEX_SIZES = {"title": 56, "heading": 48, "body": 40, "small": 32, "tiny": 26}


def clean(written: object) -> str:
    """What may be drawn: composed, on one line, without control characters, bounded."""
    drawn = unicodedata.normalize("NFC", str(written)[: 4 * _LENGTH_MAX])
    kept = (" " if each.isspace() else each for each in drawn if each.isspace() or unicodedata.category(each)[0] != "C")
    return " ".join("".join(kept).split())[:_LENGTH_MAX]


def read_s(written: object, rate: float = 25.0) -> float:
    """How long a text must be up to be read, at normal pace, in whole tenths; ``rate`` characters a second.

    25 is as fast as subtitles may be. Where many captions of one form hurry by, the eye looks for names and numbers only.
    """
    return math.ceil(10 * (0.25 + len(clean(written)) / rate)) / 10


class Lines(VGroup):
    """Lines of text, each a group of glyphs; ``shrunk`` says how much smaller than asked they came out."""

    def __init__(self, *lines: VGroup, shrunk: float = 1.0) -> None:
        super().__init__(*lines)
        self.shrunk = shrunk


class _Unwrapped(Text):
    """Text that Pango does not wrap: Manim has it wrap at as many points as the picture has pixels."""

    def _text2svg(self, color: Any) -> str:
        width = config.pixel_width
        config.pixel_width = _PANGO_WIDTH
        try:
            return super()._text2svg(color)
        finally:
            config.pixel_width = width


def one_line(written: str, font_size: float, font: str, weight: str, slant: str, color: str) -> tuple[VGroup, float]:
    """The glyphs of one line with its base line at y = 0, from x = 0; and the reference's height."""
    drawn = _Unwrapped(
        _REFERENCE + (" " if written[:1].isspace() else "") + written,
        font=font, font_size=font_size, weight=weight, slant=slant, color=color, warn_missing_font=False,
    )  # fmt: skip
    first, second, *rest = drawn.submobjects
    base, height = first.get_bottom()[1], first.height * 1.05 + (first.get_bottom()[1] - second.get_bottom()[1])
    glyphs = VGroup(*(each for each in rest if each.has_points()))
    if len(glyphs):
        glyphs.shift([-glyphs.get_left()[0], -base, 0])
    return glyphs, height


def text(
    theme: Theme,
    written: object,
    size: float | str = "body",
    *,
    color: str | None = None,
    width: float = math.inf,
    height: float = math.inf,
    weight: str = "NORMAL",
    slant: str = "NORMAL",
    align: str = "center",
    mono: bool = False,
    lines_max: int = 8,
    least: float = 0.0,
) -> Lines:
    """Text in at most that width and height. Its centre is the origin.

    Rather than smaller than can be read, or than ``least`` of its size, it is cut (``wrap``).
    """
    written = clean(written)
    font_size = float(getattr(theme, size)) if isinstance(size, str) else float(size)
    look = (theme.mono if mono else theme.font, weight, slant, color or theme.ink)
    if not written:
        return Lines(VGroup())
    unit = measure(*look[:3], written)[1] * font_size
    found = _broken(theme, written, font_size, look[:3], width, height, lines_max, least)
    lines = [one_line(each, font_size, *look)[0] for each in found.lines]
    widest = max(each.width for each in lines)
    tall = unit * (1 + LINE * (len(lines) - 1))
    return _placed(lines, unit, align, min(1.0, width / max(widest, 1e-6), height / tall))


def planned(
    theme: Theme, written: object, size: float, *, width: float, height: float, lines_max: int = 8
) -> tuple[float, float]:
    """How tall a text would be, and how much smaller than asked, without drawing it: to try sizes."""
    written = clean(written)
    if not written:
        return 0.0, 1.0
    look = (theme.font, "NORMAL", "NORMAL")
    found = _broken(theme, written, size, look, width, height, lines_max)
    return measure(*look, written)[1] * size * (1 + LINE * (len(found.lines) - 1)) * found.scale, found.scale


def list_size(
    theme: Theme, written: list[str], sizes: tuple[float, ...], *, width: float, height: float, gap: float, lines_max: int = 8
) -> tuple[float, float]:  # fmt: skip
    """The first size in which texts fit below each other, and how tall each of them may be.

    Where none does, that is the last size and a share of the height: the longest will be cut.
    """
    for size in sizes:
        tried = [planned(theme, each, size, width=width, height=height, lines_max=lines_max) for each in written]
        tall = sum(tall for tall, _ in tried) + gap * (len(written) - 1)
        if tall <= height and min(scale for _, scale in tried) > 0.79:
            return size, height
    return sizes[-1], (height - gap * (len(written) - 1)) / len(written)


@lru_cache(2048)
def measure(font: str, weight: str, slant: str, written: str) -> tuple[float, float]:
    """Width of a line and height of its letters, for each point of font size."""
    glyphs, unit = one_line(written, _MEASURED_AT, font, weight, slant, "#ffffff")
    return glyphs.width / _MEASURED_AT, unit / _MEASURED_AT


def _broken(
    theme: Theme, written: str, font_size: float, look: tuple[str, str, str], width: float, height: float, lines_max: int,
    least: float = 0.0,
) -> Broken:  # fmt: skip
    whole, unit = (each * font_size for each in measure(*look, written))
    return broken(written, whole, unit, font_size, width, height, lines_max, least, look[0] == theme.mono)


def _placed(lines: list[VGroup], unit: float, align: str, scale: float) -> Lines:
    widest = max(each.width for each in lines)
    for index, each in enumerate(lines):
        spare = widest - each.width
        across = {"left": 0.0, "center": spare / 2, "right": spare}[align]
        each.shift([across, 0, 0] + index * unit * LINE * DOWN)
    made = Lines(*lines, shrunk=scale)
    if scale < 0.999:
        made.scale(scale)
    made.move_to([0, 0, 0])
    return made


def tex(
    theme: Theme,
    *written: str,
    size: float | str = "body",
    color: str | None = None,
    width: float = math.inf,
    height: float = math.inf,
) -> MathTex:
    """A formula in at most that width and height. Only in templates that need TeX."""
    made = MathTex(*written, font_size=LATEX_SIZES[size] if isinstance(size, str) else size, color=color or theme.ink)
    room = Box(0, 0, min(width, 1e3), min(height, 1e3))
    return fit(made, room, at=None)

