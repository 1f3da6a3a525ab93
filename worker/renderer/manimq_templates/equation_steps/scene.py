"""Equation, step by step: each line grows out of the one above, with its reason."""

from __future__ import annotations

from typing import Any

from manim import DOWN, Create, FadeIn, SurroundingRectangle, TransformFromCopy, VGroup

from .. import kit
from .solve import Step, solution

_GROW = 1.4
"""Of a title's size: a short equation is what there is to look at."""


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 5.0 + 2.4 * len(cls._steps(p))

    def heading(self) -> str:
        return "Solve for x"

    @staticmethod
    def _steps(p: dict[str, Any]) -> list[Step]:
        """What follows the first equation."""
        if p.get("steps"):
            reasons = p.get("reasons") or []
            return [
                Step(kit.latex_of(each["left"]), kit.latex_of(each["right"]), reasons[i] if i < len(reasons) else "")
                for i, each in enumerate(p["steps"])
            ]
        steps = solution(p["start"]["left"], p["start"]["right"])
        own = p.get("reasons") or []
        return [each._replace(reason=own[i]) if i < len(own) else each for i, each in enumerate(steps)]

    def story(self) -> None:
        theme, p = self.theme, self.p
        start = Step(kit.latex_of(p["start"]["left"]), kit.latex_of(p["start"]["right"]), "")
        rows = [start, *self._steps(p)]
        wide = not self.stage.tall and self.stage.width > 9
        box, reasons_box = self.stage.columns(0.62, 0.38, gap=0.5) if wide else (self.stage, self.stage)
        slots = box.rows(*[1] * len(rows), gap=0.12) if len(rows) > 3 else self._loose(box, len(rows))
        equations = self._equations(rows, slots, 1.0 if wide else 0.62)
        notes = VGroup()
        for row, slot, equation in zip(rows, slots, equations, strict=True):
            if wide:
                room = kit.Box(reasons_box.left, slot.bottom, reasons_box.width, slot.height)
                note = self.text(
                    row.reason,
                    "small",
                    color=theme.muted,
                    width=room.width,
                    height=slot.height,
                    align="left",
                    lines_max=3,
                )
                note.move_to([room.left + note.width / 2, equation[1].get_y(), 0])
            else:
                upper = kit.Box(slot.left, slot.top - slot.height * 0.34, slot.width, slot.height * 0.34)
                note = self.text(
                    row.reason, "small", color=theme.muted, width=upper.width, height=upper.height, lines_max=2
                )
                note.move_to(upper.center)
            notes.add(note)
        self.play(FadeIn(equations[0]), run_time=0.8)
        self.wait(0.7)
        for index in range(1, len(rows)):
            before, after = equations[index - 1], equations[index]
            self.play(FadeIn(notes[index], shift=0.1 * DOWN), run_time=0.5)
            self.play(
                *(TransformFromCopy(before[k], after[k]) for k in range(3)),
                before.animate.set_color(theme.muted),
                run_time=0.9,
            )
            self.wait(0.8)
        frame = SurroundingRectangle(equations[-1], color=theme.green, buff=0.16, corner_radius=0.12, stroke_width=3)
        kit.fit(frame, self.safe, at=None)
        self.play(equations[-1].animate.set_color(theme.green), Create(frame), run_time=0.8)

    @staticmethod
    def _loose(box: kit.Box, count: int) -> list[kit.Box]:
        """Few rows do not spread over the whole height."""
        height = min(box.height, (2.2 if box.tall else 1.7) * count)
        return kit.Box(box.left, box.y - height / 2, box.width, height).rows(*[1] * count, gap=0.12)

    def _equations(self, rows: list[Step], slots: list[kit.Box], share: float) -> list[VGroup]:
        """One size for all, equals signs in one column, each in the lower part of its slot, under its reason."""
        made = []
        for row in rows:
            sides = [
                self.tex(row.left, size="title"),
                self.tex(row.sign, size="title"),
                self.tex(row.right, size="title"),
            ]
            made.append(VGroup(*sides).arrange(buff=0.25))
        width = slots[0].width
        left = max(each[1].get_center()[0] - each.get_left()[0] for each in made)
        right = max(each.get_right()[0] - each[1].get_center()[0] for each in made)
        tall = max(each.height for each in made)
        scale = min(_GROW, 0.94 * width / (left + right), 0.82 * share * slots[0].height / tall)
        axis = slots[0].x + (left - right) / 2 * scale
        for each, slot in zip(made, slots, strict=True):
            each.scale(scale)
            y = slot.bottom + slot.height * share / 2
            each.shift([axis - each[1].get_x(), y - each.get_y(), 0])
        return made
