"""Fonts that a scene asks for and that are not installed.

Manim draws such text with another font and logs all fonts that there are. The
film is the command's, so it is no failure; but its author is told, in one line.
"""

from __future__ import annotations

import ast
import difflib
import logging
import re

_MISSING = re.compile(r"Font (.{1,100}?) not in (\[.*\])\.", re.DOTALL)
_TOLD_MAX = 5


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
