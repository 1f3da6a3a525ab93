"""Fonts that a scene asks for and that are not installed, and characters that no font has.

Manim draws such text with another font and logs all fonts that there are; of the characters it
says nothing, and Pango draws boxes. The film is the command's, so it is no failure; but its author
is told, in one line.
"""

from __future__ import annotations

import ast
import difflib
import logging
import re
from typing import Any

from manim import MarkupText, Text

from .coverage import Coverage, installed

_MISSING = re.compile(r"Font (.{1,100}?) not in (\[.*\])\.", re.DOTALL)
_TOLD_MAX = 5
_CHARACTERS_MAX, _CHARACTERS_TOLD = 100, 6
_PACKAGES = (
    ("fonts-noto-cjk", ((0x1100, 0x11FF), (0x2E80, 0x9FFF), (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF),
                        (0xFE30, 0xFE4F), (0xFF00, 0xFFEF), (0x20000, 0x3FFFF))),
    ("fonts-symbola", ((0x2190, 0x2BFF), (0x1F000, 0x1FBFF))),
)  # fmt: skip
"""Debian's, by what they are for: East Asia, signs. Fonts of emoji in colour have no outlines that Manim could draw."""
_OTHER_PACKAGE = "fonts-noto-core"


class MissingFonts(logging.Filter):
    """Shortens Manim's own words, and keeps them for the result."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Never holds a record back."""
        found = _MISSING.fullmatch(record.msg) if isinstance(record.msg, str) else None
        if found:
            record.msg = _sentence(found[1], _fonts(found[2]))
            if record.msg not in self.warnings and len(self.warnings) < _TOLD_MAX:
                self.warnings.append(record.msg)
        return True


def _fonts(text: str) -> list[str]:
    try:
        return [each for each in ast.literal_eval(text) if isinstance(each, str)]
    except (ValueError, SyntaxError):
        return []


def _sentence(font: str, installed: list[str]) -> str:
    by_lower = {each.lower(): each for each in installed}
    near = difflib.get_close_matches(font.lower(), by_lower, n=1, cutoff=0.7)
    hint = f"; did you mean {by_lower[near[0]]!r}?" if near else ""
    return f"font {font!r} is not installed on this worker, so another one was used{hint}"


class MissingGlyphs:
    """Watches the texts that Manim sets. What is drawn is not touched."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}
        self._looked: set[str] = set()
        """What the machine's fonts lack, whether or not a scene's own have it."""

    def install(self) -> None:
        """From now on, in this process."""
        for kind in (Text, MarkupText):
            kind._text2svg = self._watching(kind._text2svg)  # type: ignore[method-assign]

    def _watching(self, text2svg: Any) -> Any:
        def watched(mobject: Any, color: Any) -> str:
            text = mobject.text
            if not text.isascii():
                self._look(text)
            return text2svg(mobject, color)

        return watched

    def _look(self, text: str) -> None:
        if len(self._seen) < _CHARACTERS_MAX:
            lacking = [each for each in installed().lacks(text) if each not in self._looked]
            self._looked.update(lacking)
            # A scene may have brought a font of its own.
            self._seen.update(dict.fromkeys(Coverage().lacks("".join(lacking)) if lacking else ()))

    @property
    def warnings(self) -> list[str]:
        """At most one."""
        if not self._seen:
            return []
        characters = list(self._seen)
        told = " ".join(f"{each} (U+{ord(each):04X})" for each in characters[:_CHARACTERS_TOLD])
        more = f" and {len(characters) - _CHARACTERS_TOLD} more" if len(characters) > _CHARACTERS_TOLD else ""
        packages = " ".join(dict.fromkeys(map(_package, characters)))
        return [
            f"no font on this worker has {told}{more}: drawn as boxes; "
            f"have one installed (apt install {packages}; deploy/README.md, Fonts) and the worker restarted"
        ]


def _package(character: str) -> str:
    point = ord(character)
    for package, ranges in _PACKAGES:
        if any(first <= point <= last for first, last in ranges):
            return package
    return _OTHER_PACKAGE
