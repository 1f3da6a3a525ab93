"""Fraction bars: wholes cut into equal parts; to add or compare, all are cut into parts of one size."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from manim import DOWN, Create, FadeIn, FadeOut, Line, Rectangle, ReplacementTransform, VGroup

from .. import kit

_THINNEST = 0.05
"""Parts as wide as their lines are stripes."""
_SIGNS = {"add": "+", "subtract": "−", "compare": "", "show": ""}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        count = len(p["fractions"])
        return 4.2 + 1.8 * count + (7.2 if cls._operation(p) != "show" else 0)

    @classmethod
    def _operation(cls, p: dict[str, Any]) -> str:
        return p.get("operation", "show") if len(p["fractions"]) > 1 else "show"

    def heading(self) -> str:
        return {
            "add": "Adding fractions", "subtract": "Subtracting fractions", "compare": "Which fraction is larger?",
        }.get(self._operation(self.p), "Fractions")  # fmt: skip

    def story(self) -> None:
        fractions = [(int(each["numerator"]), int(each["denominator"])) for each in self.p["fractions"]]
        operation = self._operation(self.p)
        result = operation in ("add", "subtract")
        if operation == "subtract":
            total = Fraction(*fractions[0]) - sum((Fraction(*each) for each in fractions[1:]), Fraction(0))
        else:
            total = sum((Fraction(*each) for each in fractions), Fraction(0))
        result = result and total >= 0
        shown = [Fraction(*each) for each in fractions] + ([total] if result else [])
        wholes = max(1, *(math.ceil(each) for each in shown))
        rows = self.stage.rows(*[1] * (len(fractions) + result), gap=0.3)
        self.unit = (rows[0].width - 2.2) / wholes
        self.height = min(1.1, rows[0].height * 0.62)
        self.wholes = wholes
        bars = []
        for index, ((n, d), row) in enumerate(zip(fractions, rows, strict=False)):
            bars.append(self._show(n, d, row, self.theme.colour(index)))
        common = math.lcm(*(d for _, d in fractions))
        if operation != "show" and self.unit / common < _THINNEST:
            self._in_numbers(fractions, operation, total, bars)
        elif operation != "show":
            self._cut_alike(fractions, bars, rows, common)
            if operation == "compare":
                self._compare(fractions)
            elif result:
                self._together(fractions, bars, rows[-1], common, total, operation)
            else:
                self.play(caption="More is taken away than there is: the result is below zero", run_time=0.6)
                self.wait(2.5)

    def _in_numbers(self, fractions: list[tuple[int, int]], operation: str, total: Fraction, bars: list[dict[str, Any]]) -> None:
        """What is too fine to be drawn."""
        if operation == "compare":
            self._compare(fractions)
            return
        common = math.lcm(*(d for _, d in fractions))
        self.play(*(bar["number"].animate.scale(1.12) for bar in bars), caption=f"Cut the same way, a part is 1/{common}", run_time=0.8)
        self.wait(1.4)
        written = _SIGNS[operation].join(f" {n}/{d} " for n, d in fractions).strip()
        self.play(*(bar["number"].animate.scale(1 / 1.12) for bar in bars), caption=f"{written} = {total}".replace("-", "−"), run_time=0.8)

    def _left(self, row: kit.Box) -> float:
        return row.left + 2.2

    def _fraction(self, n: int, d: int, row: kit.Box, colour: str) -> VGroup:
        """The number in front of its bar: numerator, line, denominator."""
        top, under = (self.text(str(each), "body", weight="BOLD", color=colour, width=1.4, lines_max=1) for each in (n, d))
        line = Line([0, 0, 0], [max(top.width, under.width) + 0.2, 0, 0], color=colour, stroke_width=3)
        made = VGroup(top, line, under).arrange(DOWN, buff=0.1)
        return kit.fit(made, kit.Box(row.left, row.bottom, 1.6, row.height), at=None).move_to([row.left + 1.0, row.y, 0])

    def _parts(self, n: int, d: int, row: kit.Box, colour: str) -> VGroup:
        """Frames of the wholes, and in them the parts that are taken."""
        theme, made = self.theme, VGroup()
        whole = max(1, math.ceil(n / d))
        if self.unit / d < _THINNEST:
            return self._lengths(n, d, row, colour, whole)
        for i in range(d * whole):
            part = Rectangle(width=self.unit / d, height=self.height, stroke_color=theme.muted, stroke_width=max(0.8, 2.4 - d / 16))
            part.set_fill(colour if i < n else theme.panel, 0.9 if i < n else 0.5)
            made.add(part.move_to([self._left(row) + (i + 0.5) * self.unit / d, row.y, 0]))
        return made

    def _lengths(self, n: int, d: int, row: kit.Box, colour: str, wholes: int) -> VGroup:
        """Wholes and one length, where parts would be thinner than their lines."""
        made = VGroup()
        if n:
            long = n / d * self.unit
            bar = Rectangle(width=long, height=self.height, stroke_width=0, fill_color=colour, fill_opacity=0.9)
            made.add(bar.move_to([self._left(row) + long / 2, row.y, 0]))
        for i in range(wholes):
            frame = Rectangle(width=self.unit, height=self.height, stroke_color=self.theme.muted, stroke_width=1)
            made.add(frame.move_to([self._left(row) + (i + 0.5) * self.unit, row.y, 0]))
        return made

    def _show(self, n: int, d: int, row: kit.Box, colour: str) -> dict[str, Any]:
        empty = self._parts(0, d, row, colour)
        parts, number = self._parts(n, d, row, colour), self._fraction(n, d, row, colour)
        said = kit.counted(n, "whole") if d == 1 else f"{n} of {d} equal parts"
        self.play(FadeIn(number), Create(empty), caption=said, run_time=0.9)
        self.remove(empty)
        self.play(FadeIn(parts, lag_ratio=0.2), run_time=0.9)
        return {"parts": parts, "number": number}

    def _cut_alike(self, fractions: list[tuple[int, int]], bars: list[dict[str, Any]], rows: list[kit.Box], common: int) -> None:
        changes: list[Any] = []
        for index, ((n, d), bar, row) in enumerate(zip(fractions, bars, rows, strict=False)):
            if d == common:
                continue
            colour = self.theme.colour(index)
            factor = common // d
            parts, number = self._parts(n * factor, common, row, colour), self._fraction(n * factor, common, row, colour)
            changes += [FadeOut(bar["parts"]), FadeIn(parts), ReplacementTransform(bar["number"], number)]
            bar["parts"], bar["number"] = parts, number
        if changes:
            self.play(*changes, caption=f"Cut both the same way: into parts of 1/{common}", run_time=1.4)
        else:
            self.play(caption=f"All parts have the same size: 1/{common}", run_time=0.6)
        self.wait(1.0)

    def _compare(self, fractions: list[tuple[int, int]]) -> None:
        values = [Fraction(*each) for each in fractions]
        best = max(values)
        first = [f"{n}/{d}" for (n, d), value in zip(fractions, values, strict=True) if value == best]
        most = "larger" if len(fractions) == 2 else "largest"
        *others, last = first
        said = f"{', '.join(others)} and {last} are the {most}" if others else f"{last} is the {most}"
        self.play(caption="They are equal" if len(set(values)) == 1 else said, run_time=0.6)
        self.wait(2.4)

    def _together(
        self, fractions: list[tuple[int, int]], bars: list[dict[str, Any]], row: kit.Box, common: int, total: Fraction, operation: str
    ) -> None:
        theme = self.theme
        taken = [n * (common // d) for n, d in fractions]
        count = int(total * common)
        frame = self._parts(0, common, row, theme.green)
        frame = VGroup(*frame, *self._parts(0, common, row, theme.green).shift([self.unit, 0, 0])) if count > common else frame
        moved, place = VGroup(), 0
        width = self.unit / common
        if operation == "add":
            for bar, n in zip(bars, taken, strict=True):
                for part in bar["parts"][:n]:
                    moved.add(part.copy().move_to([self._left(row) + (place + 0.5) * width, row.y, 0]))
                    place += 1
        else:
            for part in bars[0]["parts"][:count]:
                moved.add(part.copy().move_to([self._left(row) + (place + 0.5) * width, row.y, 0]))
                place += 1
        number = self._fraction(count, common, row, theme.green)
        sign = f" {_SIGNS[operation]} "
        written = sign.join(f"{n}/{common}" for n in taken) + f" = {count}/{common}"
        self.play(FadeIn(self._parts(0, common, row, theme.green)), FadeIn(moved, shift=0.5 * DOWN, lag_ratio=0.1), FadeIn(number), caption=written, run_time=1.8)
        self.wait(0.6)
        if total.denominator != common:
            n, d = total.numerator, total.denominator
            simple = self._fraction(n, d, row, theme.green)
            same = f"{count}/{common} = {n}" + (f"/{d}" if d != 1 else "")
            self.play(ReplacementTransform(number, simple), caption=f"The same with larger parts: {same}", run_time=1.0)
