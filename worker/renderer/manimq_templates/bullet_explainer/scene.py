"""Key points: one line after the other, in one size, as large as they all fit."""

from __future__ import annotations

from typing import Any

from manim import LEFT, RIGHT, Dot, FadeIn, LaggedStart, VGroup

from .. import kit

_GAP = 0.25
_SIZES = (44, 40, 36, 32, 29, 26, 23, 20, 17, 15)


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        if p.get("reveal", "focus") == "all":
            return 4.0 + 0.9 * len(p["items"])
        return 3.2 + sum(cls._each(item) for item in p["items"])

    @staticmethod
    def _each(item: str) -> float:
        """Time to read a line."""
        return round(1.3 + min(2.2, 0.022 * len(item)), 1)

    def heading(self) -> str:
        return self.p.get("heading") or "Key points"

    def story(self) -> None:
        theme, p = self.theme, self.p
        rows = self._rows(p["items"])
        reveal = p.get("reveal", "focus")
        if reveal == "all":
            self.play(LaggedStart(*(FadeIn(each, shift=0.25 * RIGHT) for each in rows), lag_ratio=0.4), run_time=0.8 + 0.3 * len(rows))
            return
        for index, (row, item) in enumerate(zip(rows, p["items"], strict=True)):
            dim = []
            if reveal == "focus" and index:
                dim = [
                    rows[index - 1][1].animate.set_fill(theme.muted),
                    rows[index - 1][0].animate.set_fill(theme.faint),
                ]
            self.play(FadeIn(row, shift=0.3 * RIGHT), *dim, run_time=0.6)
            self.wait(self._each(item) - 0.6)
        if reveal == "focus":
            self.play(
                *(each[1].animate.set_fill(theme.ink) for each in rows), *(each[0].animate.set_fill(theme.amber) for each in rows),
                run_time=0.6,
            )  # fmt: skip

    def _rows(self, items: list[str]) -> VGroup:
        theme = self.theme
        box = self.stage.inset(0.25 if self.stage.tall else 0.9, 0.15)
        indent = 0.5
        width = box.width - indent
        size, tall = kit.list_size(theme, items, _SIZES, width=width, height=box.height, gap=_GAP)
        lines = [self.text(each, size, width=width, align="left", height=tall) for each in items]
        kit.even(lines)
        rows = VGroup()
        for line in lines:
            dot = Dot(radius=0.085, color=theme.amber)
            # Beside the first line of the text, however many it has.
            first = line[0] if len(line[0]) else dot
            dot.move_to([-indent, first.get_y(), 0])
            line.shift([-line.get_left()[0], 0, 0])
            rows.add(VGroup(dot, line))
        rows.arrange(direction=[0, -1, 0], buff=self._spread(lines, box), aligned_edge=LEFT)
        return kit.fit(rows, box, at=(0.0 if box.width > 9 or self.stage.tall else 0.5, 0.5))

    @staticmethod
    def _spread(lines: list[kit.Lines], box: kit.Box) -> float:
        spare = box.height - sum(each.height for each in lines)
        return min(0.62, max(0.12, spare / max(1, len(lines))))
