"""Title card: the title rises, a line or a frame draws itself, then what is under it."""

from __future__ import annotations

from typing import Any

from manim import DOWN, UP, Create, Dot, FadeIn, Line, RoundedRectangle, VGroup, rate_functions

from .. import kit

_DOTS = 46


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 4.4 + 0.7 * bool(p.get("subtitle")) + 0.6 * bool(p.get("author")) + sum(cls._waits(p))

    @staticmethod
    def _waits(p: dict[str, Any]) -> list[float]:
        """What title, subtitle and author need to be read, longer than their plays and a breath."""
        brief = (("title", 2.0), ("subtitle", 2.7), ("author", 3.0))
        return [max(0.0, round(kit.read_s(p.get(name) or "") - seconds, 1)) for name, seconds in brief]

    def _head(self, safe: kit.Box) -> VGroup:
        return VGroup()  # the whole picture is the title

    def story(self) -> None:
        theme, p = self.theme, self.p
        box = self.safe.inset(0.5, 1.1)
        style = p.get("style", "line")
        title = self.text(
            p.get("title") or " ", 74, weight="BOLD", width=box.width, height=box.height * 0.5, lines_max=5
        )
        below = VGroup()
        if p.get("subtitle"):
            below.add(self.text(p["subtitle"], 34, color=theme.muted, width=box.width * 0.92, height=1.5, lines_max=3))
        author = self.text(p.get("author") or "", "small", color=theme.muted, width=box.width, height=0.75, lines_max=2)
        line = Line([-1.1, 0, 0], [1.1, 0, 0], color=theme.amber, stroke_width=6)
        block = VGroup(title, line, *below) if style == "line" else VGroup(title, *below)
        block.arrange(DOWN, buff=0.45)
        kit.fit(block, box)
        author.move_to([box.x, self.safe.bottom + 0.4, 0])
        if style == "frame":
            self._frame(box)
        elif style == "dots":
            self._dots(block)
        self.play(*(FadeIn(each, shift=0.35 * UP) for each in title), run_time=1.0)
        if style == "line":
            self.play(Create(line), run_time=0.6)
        title_s, subtitle_s, _ = self._waits(p)
        self.wait(title_s)
        if len(below):
            self.play(FadeIn(below, shift=0.2 * UP), run_time=0.7)
        self.wait(subtitle_s)
        if p.get("author"):
            self.play(FadeIn(author), run_time=0.6)

    def _frame(self, box: kit.Box) -> None:
        outer = box.inset(-0.4, -0.3)
        frame = RoundedRectangle(
            width=outer.width, height=outer.height, corner_radius=0.25, color=self.theme.amber, stroke_width=4
        )
        self.play(Create(frame.move_to(outer.center)), run_time=0.9)

    def _dots(self, keep_off: VGroup) -> None:
        """Dots that drift apart, never under the words."""
        dots = VGroup()
        room = kit.frame_box(0.3)
        for index in range(_DOTS):
            at = room.at(self.random.random(), self.random.random())
            clear = abs(at[0] - keep_off.get_x()) > keep_off.width / 2 + 0.5
            clear |= abs(at[1] - keep_off.get_y()) > keep_off.height / 2 + 0.5
            if clear and at[1] > self.safe.bottom + 0.9:
                dots.add(
                    Dot(at, radius=0.04 + 0.08 * self.random.random(), color=self.theme.colour(index)).set_opacity(0.75)
                )
        start = dots.copy().scale(0.6, about_point=room.center).set_opacity(0)
        self.add(start)
        self.play(start.animate.become(dots), run_time=0.9, rate_func=rate_functions.ease_out_cubic)
