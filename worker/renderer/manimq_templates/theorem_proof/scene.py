"""Theorem and proof: the claim on a card, then one step under the other, and the square at the end."""

from __future__ import annotations

from typing import Any

from manim import DOWN, UP, FadeIn, FadeOut, Square, VGroup, smooth
from manim.utils.rate_functions import squish_rate_func

from .. import kit
from .library import Theorem, find

_LONG_S = 5.0
"""Longer than that nothing should stand still."""


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        theorem = cls._theorem(p)
        return 6.0 + sum(cls._each(step) for step in theorem.steps)

    @staticmethod
    def _each(step: tuple[str, str]) -> float:
        return round(max(1.5 + min(1.8, 0.02 * len(step[0])), kit.read_s(step[0])) + 0.6 * bool(step[1]), 1)

    @staticmethod
    def _theorem(p: dict[str, Any]) -> Theorem:
        name = p.get("name") or "sqrt2-irrational"
        known = find(name)
        steps = tuple((each["text"], (each.get("latex") or {}).get("latex", "")) for each in p.get("steps") or [])
        if known:
            return Theorem(known.title, p.get("statement") or known.statement, steps or known.steps)
        return Theorem(name, p.get("statement") or "", steps)

    def heading(self) -> str:
        return self._theorem(self.p).title

    def story(self) -> None:
        theme, stage = self.theme, self.stage
        theorem = self._theorem(self.p)
        rest = stage
        if kit.clean(theorem.statement):
            card_height = min(1.5, 0.2 * stage.height + 0.2)
            card, rest = stage.rows(card_height, stage.height - card_height, gap=0.3)
            words = self.text(
                theorem.statement,
                "body",
                weight="MEDIUM",
                width=card.width - 0.6,
                height=card.height - 0.3,
                lines_max=4,
            )
            claim = VGroup(self.panel(card, theme.wash(theme.blue)), words.move_to(card.center))
            self.play(FadeIn(claim, shift=0.15 * UP), run_time=0.9)
            self.wait(1.3)
        if not theorem.steps:
            return
        leaving: list[Any] = []
        rows = VGroup()
        for page in self._pages(theorem.steps, rest):
            rows = self._rows(page, rest)
            for index, (row, step) in enumerate(zip(rows, page, strict=True)):
                dim = [] if index == 0 else [rows[index - 1].animate.set_opacity(0.55)]
                # Long sentences come line by line, as they are read, and the formula at the end.
                later = [*row[0][1:], *row[1:]] if self._each(step) > _LONG_S else []
                for part in later:
                    part.set_opacity(0)
                self.play(*leaving, FadeIn(row, shift=0.15 * UP), *dim, run_time=0.7)
                leaving = []
                rest_s = round((self._each(step) - 0.7) / (len(later) + 1), 1)
                for part in later:
                    self.wait(rest_s - 0.5)
                    self.play(part.animate.set_opacity(1), run_time=0.5)
                self.wait(self._each(step) - 0.7 - rest_s * len(later))
            # A page goes as the first step of the next one comes.
            leaving = [FadeOut(rows, rate_func=squish_rate_func(smooth, 0.0, 0.4))]
        done = Square(0.26, color=theme.green, fill_color=theme.green, fill_opacity=1)
        done.move_to([rest.right - 0.2, rows[-1].get_y(), 0])
        self.play(*(each.animate.set_opacity(1.0) for each in rows), FadeIn(done), run_time=0.8)

    @staticmethod
    def _pages(steps: tuple[tuple[str, str], ...], box: kit.Box) -> list[tuple[tuple[str, str], ...]]:
        """As many steps on a page as can be read."""
        wide = box.width > 9

        def need(step: tuple[str, str]) -> float:
            sentence, latex = step
            lines = -(-max(1, len(sentence)) // (46 if wide and latex else 84 if wide else 42))
            return max(0.75, 0.2 + 0.4 * lines) if wide else 0.25 + 0.4 * lines + (0.75 if latex else 0)

        pages: list[list[tuple[str, str]]] = [[]]
        used = 0.0
        for step in steps:
            if pages[-1] and used + need(step) > box.height:
                pages.append([])
                used = 0.0
            pages[-1].append(step)
            used += need(step)
        return [tuple(page) for page in pages]

    def _rows(self, steps: tuple[tuple[str, str], ...], box: kit.Box) -> VGroup:
        """All steps in one column, sentence and formula side by side where there is room."""
        theme, side_by_side = self.theme, box.width > 9
        room = kit.Box(box.left, box.bottom, box.width - 0.6, box.height)
        height = min(1.5 if side_by_side else 3.0, (room.height - 0.14 * len(steps)) / len(steps))
        rows, sentences, formulas = VGroup(), [], []
        for sentence, latex in steps:
            share = 0.56 if side_by_side and latex else 1.0
            tall = height if side_by_side or not latex else 0.5 * height
            words = self.text(
                sentence,
                "body",
                width=room.width * share - 0.2,
                height=tall,
                align="left" if side_by_side else "center",
                lines_max=5, least=0.5,
            )
            sentences.append(words)
            formula = self.tex(latex, color=theme.amber) if latex else VGroup()
            if latex:
                kit.fit(
                    formula,
                    kit.Box(
                        0, 0, room.width * (0.41 if side_by_side else 1.0), height if side_by_side else 0.46 * height
                    ),
                    at=None,
                )
            formulas.append(formula)
            rows.add(VGroup(words, formula) if latex else VGroup(words))
        kit.even(sentences)
        slots = kit.Box(
            room.left, room.y - (height + 0.14) * len(steps) / 2, room.width, (height + 0.14) * len(steps)
        ).rows(*[1] * len(steps), gap=0.14)
        for words, formula, slot in zip(sentences, formulas, slots, strict=True):
            if side_by_side:
                words.move_to([slot.left + words.width / 2, slot.y, 0])
                if len(formula):
                    formula.move_to([slot.left + 0.58 * slot.width + formula.width / 2, slot.y, 0])
            else:
                VGroup(words, *([formula] if len(formula) else [])).arrange(DOWN, buff=0.12).move_to(slot.center)
        return rows
