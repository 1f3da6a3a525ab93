"""What TeX says of a fault, in the words of who wrote the formula.

Manim puts marks for dvisvgm around the parts of a formula, and sets most of them in
``align*``, which reads its body as an argument: TeX's line number and the line that it
shows are then those of ``\\end{align*}``, and where it stopped is in an inner context.
"""

from __future__ import annotations

import itertools
import re

ERRORS_MAX = 5
_MESSAGE_CHARS_MAX = 300
_READ_CHARS_MAX = 80
_LINE_CHARS_MAX = 2000
"""Of a line of the log, which a formula can write to itself: TeX's own have at most 1,000."""
_CONTEXT_LINES = 14
"""Lines of the log below a message, among which its context is looked for."""

_MARKS = re.compile(r"\\special\s*\{dvisvgm:raw\s[^{}]*\}")
_CUT_MARK = re.compile(r"^\.\.\.[^{}\\]*(?:\{dvisvgm:raw\s[^{}\\]*)?>\}")
"""The end of a mark, where TeX has left out what is before it."""
_CONTEXT = re.compile(r"(?:<argument>|l\.\d+)\s*(.*)")
_MACRO = re.compile(r"\\(?:[A-Za-z@]+|.)\s*$")


def plain(tex: str) -> str:
    """TeX without Manim's marks."""
    return _MARKS.sub("", tex)


def errors(log: str) -> list[str]:
    """TeX's ``!`` lines, each with the macro that it does not know, and with what it had read up to there."""
    found = []
    lines = [line[:_LINE_CHARS_MAX] for line in log.splitlines()]
    for index, line in enumerate(lines):
        if not line.startswith("! ") or line.startswith("!  ==> Fatal error"):
            continue
        # Up to the next error, whose context is its own.
        context = itertools.takewhile(lambda each: not each.startswith("! "), lines[index + 1 : index + 1 + _CONTEXT_LINES])
        found.append(_error(line[2:].strip()[:_MESSAGE_CHARS_MAX], list(context)))
        if len(found) == ERRORS_MAX:
            break
    return found


def _error(message: str, context: list[str]) -> str:
    message = plain(message).removesuffix(".")
    if message == "Undefined control sequence" and context and (macro := _MACRO.search(context[0])):
        # The innermost context ends with it, also where a macro's own text has it.
        message += f" {macro[0].strip()}"
    read = next((_read(inner[1]) for each in context if (inner := _CONTEXT.match(each))), "")
    return f"{message} (at: {read})" if read else message


def _read(text: str) -> str:
    """The end of what TeX had read; nothing if that is only where an environment ends."""
    text = " ".join(plain(_CUT_MARK.sub("...", text)).split())
    if re.fullmatch(r"\\end\s?\{[^{}]*\}", text):
        return ""
    return text if len(text) <= _READ_CHARS_MAX else "..." + text[-_READ_CHARS_MAX:]
