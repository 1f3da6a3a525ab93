"""Truth table: a column for each part of the expression, from the inside out, then the result."""

from __future__ import annotations

import itertools
from typing import Any

from manim import DOWN, FadeIn, LaggedStart, RoundedRectangle, VGroup

from .. import kit
from . import logic

_WHY = {
    "not": "NOT: the opposite",
    "and": "AND: true where both are true",
    "or": "OR: true where at least one is true",
    "xor": "XOR: true where they differ",
    "nand": "NAND: false only where both are true",
    "nor": "NOR: true only where both are false",
    "if": "IF … THEN: false only where true leads to false",
    "iff": "IF AND ONLY IF: true where both are the same",
}
_COLUMN_S = 2.4
_DEFAULT = {"tree": ["not", ["and", "A", "B"]]}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        tree = cls.tree_of(p)
        return 5.4 + _COLUMN_S * len(logic.parts(tree)) * (isinstance(tree, list))

    @staticmethod
    def tree_of(p: dict[str, Any]) -> logic.Tree:
        """The expression's tree."""
        return logic.check((p.get("expression") or _DEFAULT)["tree"])

    def heading(self) -> str:
        return f"Truth table of {logic.shown(self.tree_of(self.p))}"

    def story(self) -> None:
        theme = self.theme
        tree = self.tree_of(self.p)
        names, parts = logic.variables(tree), logic.parts(tree) if isinstance(tree, list) else []
        cases = [dict(zip(names, each, strict=True)) for each in itertools.product([False, True], repeat=len(names))]
        stage = self.stage
        heads = [self.text(each, "body", weight="BOLD", color=theme.blue) for each in names]
        whole = [logic.shown(each) for each in parts]
        if sum(map(len, whole)) > 30:
            # Too long to stand side by side: a column is named, and later ones call it by its name.
            whole = [f"{logic.NUMBERS[i]} {logic.shown(each, named=parts)}" for i, each in enumerate(parts)]
        heads += [self.text(each, "body", weight="BOLD", color=theme.amber, lines_max=1) for each in whole]
        widths = [max(0.95, each.width + 0.5) for each in heads]
        scale = min(1.0, stage.width / sum(widths))
        tall = min(0.72, stage.height / (len(cases) + 1.2))
        left = stage.x - sum(widths) * scale / 2
        top = stage.y + tall * (len(cases) + 1.1) / 2
        rows = [top - tall * (1.6 + i) for i in range(len(cases))]
        xs = []
        for width, head in zip(widths, heads, strict=True):
            x = left + width * scale / 2
            xs.append(x)
            kit.fit(head, kit.Box(0, 0, width * scale - 0.16, tall * 0.8), at=None).move_to([x, top - tall * 0.5, 0])
            left += width * scale
        rule = self.rule([stage.x - sum(widths) * scale / 2, top - tall, 0], [stage.x + sum(widths) * scale / 2, top - tall, 0], theme.muted)
        columns = [VGroup(*(self._cell(case[name], xs[i], y, widths[i] * scale, tall, False) for case, y in zip(cases, rows, strict=True))) for i, name in enumerate(names)]
        self.play(
            *(FadeIn(each) for each in heads[: len(names)]), FadeIn(rule), *(FadeIn(each) for each in columns),
            caption=f"{kit.counted(len(names), 'variable')}: {len(cases)} cases", run_time=1.2,
        )  # fmt: skip
        self.wait(1.0)
        for index, part in enumerate(parts, len(names)):
            last = index == len(names) + len(parts) - 1
            cells = VGroup(*(self._cell(logic.value(part, case), xs[index], y, widths[index] * scale, tall, last) for case, y in zip(cases, rows, strict=True)))
            self.play(FadeIn(heads[index], shift=0.15 * DOWN), caption=_WHY[part[0]], run_time=0.6)
            self.play(LaggedStart(*(FadeIn(each, shift=0.1 * DOWN) for each in cells), lag_ratio=0.25), run_time=1.2)
            self.wait(_COLUMN_S - 1.8)
        results = [logic.value(tree, case) for case in cases]
        said = "Always true: a tautology" if all(results) else "Never true: a contradiction" if not any(results) else f"True in {sum(results)} of {len(results)} cases"
        self.play(caption=said, run_time=0.6)

    def _cell(self, true: bool, x: float, y: float, width: float, tall: float, result: bool) -> VGroup:
        theme = self.theme
        colour = theme.green if true else theme.red
        label = self.text("T" if true else "F", "body", weight="BOLD" if result else "NORMAL", color=theme.on(colour) if result else colour)
        kit.fit(label, kit.Box(0, 0, width * 0.8, tall * 0.6), at=None)
        cell = VGroup(label)
        if result:
            box = RoundedRectangle(width=min(width - 0.14, 1.5), height=tall * 0.84, corner_radius=0.08, stroke_width=0, fill_color=colour, fill_opacity=1)
            cell = VGroup(box, label)
        return cell.move_to([x, y, 0])
