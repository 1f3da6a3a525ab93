"""Quote card: a large mark, the words line by line, then who said them."""

from __future__ import annotations

from typing import Any

from manim import DOWN, RIGHT, UP, Create, FadeIn, Line, VGroup

from .. import kit


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 5.4 + cls._reading_s(p)

    @staticmethod
    def _reading_s(p: dict[str, Any]) -> float:
        """Lines come as fast as people read."""
        return round(min(10.0, 1.0 + len(p["quote"]) / 22), 1)

    def story(self) -> None:
        theme, p = self.theme, self.p
        stage = self.stage.inset(0.5 if self.stage.tall else 1.1, 0.5)
        who = p.get("who")
        words = self.text(p["quote"], 48, slant="ITALIC", width=stage.width, height=stage.height * (0.62 if who else 0.74), align="left", lines_max=9)
        mark = self.text("“", 150, weight="BOLD", color=theme.amber)
        below = VGroup()
        if who:
            name = self.text(who, "body", color=theme.muted, width=stage.width - 1.2, height=0.9, lines_max=2)
            dash = Line([0, 0, 0], [0.7, 0, 0], color=theme.amber, stroke_width=5)
            below = VGroup(dash, name).arrange(RIGHT, buff=0.25)
        block = VGroup(mark, words, *([below] if len(below) else []))
        block.arrange(DOWN, buff=0.4)
        for each in block:
            each.align_to(words, [-1, 0, 0])
        kit.fit(block, stage)
        self.play(FadeIn(mark, shift=0.3 * DOWN), run_time=0.8)
        lines = [each for each in words if len(each)]
        each_s = int(10 * self._reading_s(p) / max(1, len(lines))) / 10
        for line in lines:
            quick = max(0.1, min(0.7, round(each_s * 0.7, 1)))
            self.play(FadeIn(line, shift=0.15 * UP), run_time=quick)
            if each_s - quick > 0.05:
                self.wait(each_s - quick)
        if len(below):
            self.play(Create(below[0]), FadeIn(below[1], shift=0.2 * RIGHT), run_time=0.8)
