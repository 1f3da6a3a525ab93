"""Code walkthrough: coloured code, a bar over the lines in question, and a note about them. Nothing of it is run."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from manim import FadeIn, FadeOut, RoundedRectangle, VGroup, smooth
from manim.utils.rate_functions import squish_rate_func
from pygments import lex
from pygments.lexers import find_lexer_class_by_name, get_all_lexers
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from .. import kit

_LANGUAGES = frozenset(alias.lower() for _, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases)
"""Asked for another, Pygments would look through all packages for plugins."""
_LINES_MAX, _COLUMNS_MAX = 40, 110
_SIZE_MAX = 30.0
_UNIT_MIN = 0.105
"""Width of a letter, below which nobody reads it in the smallest film. What does not fit then is shown page by page."""
_ROW = 2.35
"""Height of a line, in widths of a letter."""
_FADED_MAX = 1200
"""Letters. More are put there at once: to fade each of them in would take minutes."""


def lines_of(source: str) -> list[str]:
    """At most forty lines without what cannot be drawn; tabs are four spaces; a long line ends in an ellipsis."""
    cut = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:_LINES_MAX]
    while len(cut) > 1 and not cut[-1].strip():
        cut.pop()
    drawn = []
    for line in cut:
        line = "".join(each for each in line.replace("\t", "    ") if unicodedata.category(each)[0] != "C").rstrip()
        drawn.append(line if len(line) <= _COLUMNS_MAX else line[: _COLUMNS_MAX - 1] + "…")
    return drawn


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        steps = p.get("steps") or []
        return 5.0 + (sum(cls._each(step) for step in steps) if steps else 0.13 * len(lines_of(p["source"])))

    @staticmethod
    def _each(step: dict[str, Any]) -> float:
        return round(1.9 + min(2.6, 0.025 * len(step["note"])), 1)

    def heading(self) -> str:
        return "How this code works" if self.p.get("steps") else "Code"

    def story(self) -> None:
        p, stage = self.p, self.stage
        lines = lines_of(p["source"])
        steps = p.get("steps") or []
        if not steps:
            card, notes = stage, None
        elif not stage.tall and stage.width > 9 and max(map(len, lines)) <= 64:
            card, notes = stage.columns(0.66, 0.34, gap=0.45)
        else:
            card, notes = stage.rows(stage.height - 1.25, 1.25, gap=0.25)
        self.box = card.inset(0.3, 0.25)
        self.count = max(1, min(len(lines), int(self.box.height / (_ROW * _UNIT_MIN))))
        columns = max(20, int(self.box.width / _UNIT_MIN) - 4)
        self.lines = [each if len(each) <= columns else each[: columns - 1] + "…" for each in lines]
        self.colours = self._colours(self.lines)
        self.start = 0
        rows = self.rows = self._rows()
        back = self.panel(self._around(rows, card))
        if sum(len(each.family_members_with_points()) for each in rows) > _FADED_MAX:
            self.play(FadeIn(back), run_time=1.0)
            self.add(*rows)
        else:
            self.play(FadeIn(back), *(FadeIn(each) for each in rows), run_time=1.0)
        self.wait(0.6)
        bar, note = None, None
        for step in steps:
            bar, note = self._step(step, notes, bar, note)
        if bar is not None:
            self._light(1, len(lines))
            self.play(FadeOut(bar), run_time=0.6)
        if not steps:
            self._leaf_through(len(lines))

    def _leaf_through(self, count: int) -> None:
        """Code without steps that needs more than one page."""
        pages = -(-count // self.count)
        for page in range(1, pages):
            self.wait(0.09 * self.count)
            self._turn_to(min(page * self.count, count - self.count))
            self.wait(0.2)

    def _turn_to(self, start: int) -> None:
        """Show the lines from there on."""
        if start != self.start:
            self.remove(*self.rows)
            self.start = start
            self.rows = self._rows()
            self.add(*self.rows)

    @staticmethod
    def _around(rows: list[VGroup], card: kit.Box) -> kit.Box:
        """The card no taller than the code."""
        top, bottom = rows[0].slot.top + 0.2, rows[-1].slot.bottom - 0.2
        return kit.Box(card.left, bottom, card.width, top - bottom)

    def _rows(self) -> list[VGroup]:
        """The lines of the page that is open."""
        theme, box = self.theme, self.box
        advance = kit.one_line("0" * 40, 24, theme.mono, "NORMAL", "NORMAL", theme.ink)[0].width / 39.6
        number_columns = len(str(len(self.lines))) + 1
        widest = max(max(map(len, self.lines)), 8) + number_columns
        unit = min(box.width / widest, box.height / self.count / _ROW, advance * _SIZE_MAX / 24)
        size, tall = 24 * unit / advance, _ROW * unit
        top = box.y + tall * self.count / 2
        rows = []
        for i, line in enumerate(self.lines[self.start : self.start + self.count]):
            y = top - tall * (i + 0.66)
            number = kit.one_line(f"{self.start + i + 1}", size, theme.mono, "NORMAL", "NORMAL", theme.muted)[0]
            number.shift([box.left + unit * (number_columns - 1) - number.width, y, 0]).set_opacity(0.6)
            row = VGroup(number)
            body = line.lstrip()
            if body:
                glyphs = kit.one_line(body, size, theme.mono, "NORMAL", "NORMAL", theme.ink)[0]
                ink = [c for letter, c in zip(line, self.colours[self.start + i], strict=True) if not letter.isspace()]
                # Where letters join to one glyph, the line keeps one colour.
                if len(ink) == len(glyphs):
                    for glyph, colour in zip(glyphs, ink, strict=True):
                        glyph.set_fill(colour)
                indent = len(line) - len(body)
                glyphs.shift([box.left + unit * (number_columns + indent), y, 0])
                over = glyphs.get_right()[0] - box.right
                if over > 0:
                    glyphs.stretch_to_fit_width(glyphs.width - over, about_edge=np.array([-1.0, 0, 0]))
                row.add(glyphs)
            row.slot = kit.Box(box.left - 0.1, top - tall * (i + 1), box.width + 0.2, tall)
            rows.append(row)
        return rows

    def _colours(self, lines: list[str]) -> list[list[str]]:
        """A colour for each letter."""
        theme = self.theme
        language = str(self.p.get("language") or "python").lower()
        lexer = (find_lexer_class_by_name(language) if language in _LANGUAGES else TextLexer)(stripnl=False)
        kinds = (
            (Comment, theme.muted), (String, theme.green), (Keyword, theme.violet), (Number, theme.amber), (Operator.Word, theme.violet),
            (Name.Function, theme.blue), (Name.Class, theme.blue), (Name.Builtin, theme.teal), (Name.Decorator, theme.amber), (Operator, theme.red),
        )  # fmt: skip
        colours: list[list[str]] = [[]]
        for kind, piece in lex("\n".join(lines), lexer):
            colour = next((c for parent, c in kinds if kind in parent), theme.ink)
            for letter in piece:
                if letter == "\n":
                    colours.append([])
                else:
                    colours[-1].append(colour)
        # A lexer may leave letters out or add some: each line has exactly as many colours as letters.
        colours += [[] for _ in lines]
        return [(got + [theme.ink] * len(line))[: len(line)] for got, line in zip(colours, lines, strict=False)]

    def _light(self, first: int, last: int) -> None:
        for number, row in enumerate(self.rows, start=self.start + 1):
            row.set_opacity(1.0 if first <= number <= last else 0.4)

    def _step(self, step: dict[str, Any], box: kit.Box | None, bar: Any, note: Any) -> tuple[Any, Any]:
        first, last = sorted(min(max(1, n), len(self.lines)) for n in (step["lines"][0], step["lines"][-1]))
        if first <= self.start or last > self.start + self.count:
            spare = max(0, self.count - (last - first + 1))
            self._turn_to(max(0, min(first - 1 - spare // 3, len(self.lines) - self.count)))
        # What of the lines is on this page.
        end = min(last, self.start + self.count)
        upper, lower = self.rows[first - 1 - self.start].slot, self.rows[end - 1 - self.start].slot
        goal = RoundedRectangle(
            width=upper.width, height=upper.top - lower.bottom + 0.04, corner_radius=0.08, stroke_width=0,
            fill_color=self.theme.amber, fill_opacity=0.2,
        ).move_to([upper.x, (upper.top + lower.bottom) / 2, 0])  # fmt: skip
        # The code stands still, so it is drawn once; only the bar before it and the note move.
        self._light(first, last)
        changes: list[Any] = []
        if bar is None:
            bar = goal
            changes.append(FadeIn(bar))
        else:
            changes.append(bar.animate.become(goal))
        fresh = note
        if box is not None:
            if note is not None:
                # First the old note goes, then the new one comes: never both in one place.
                changes.append(FadeOut(note, rate_func=squish_rate_func(smooth, 0.0, 0.45)))
            fresh = self.text(
                step["note"],
                "body",
                width=box.width,
                height=box.height,
                align="left" if box.tall else "center",
                lines_max=10,
            )
            y = min(max((upper.top + lower.bottom) / 2, box.bottom + fresh.height / 2), box.top - fresh.height / 2)
            fresh.move_to([box.left + fresh.width / 2 if box.tall else box.x, y if box.tall else box.y, 0])
            begins = 0.0 if note is None else 0.5
            changes.append(FadeIn(fresh, rate_func=squish_rate_func(smooth, begins, begins + 0.5)))
        self.play(*changes, run_time=0.6)
        self.wait(self._each(step) - 0.6)
        return bar, fresh
