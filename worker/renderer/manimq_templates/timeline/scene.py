"""Timeline: a line draws itself from event to event, and each brings its card."""

from __future__ import annotations

from typing import Any

from manim import DOWN, RIGHT, UP, Circle, Create, FadeIn, Line, VGroup

from .. import kit
from ..kit.short import short

_EVENT_S = 1.9
_BODY_S = 16.0


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def _event_s(cls, p: dict[str, Any]) -> float:
        # Whole tenths: at any rate of pictures the film is as long as was said.
        return round(min(_EVENT_S, _BODY_S / len(p["events"])), 1)

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 3.4 + len(p["events"]) * cls._event_s(p)

    def heading(self) -> str:
        return "Timeline"

    def story(self) -> None:
        events = self.p["events"]
        stage = self.stage.inset(0.0, 0.1)
        # Beside each other as long as a card is wide enough for its words.
        upright = stage.tall or stage.width * 2 / (len(events) + 1) < 2.1 or stage.width < 9
        places = self._upright(stage, len(events)) if upright else self._lying(stage, len(events))
        each_s = self._event_s(self.p)
        last = places[0]["dot"] - ([0, -0.35, 0] if upright else [0.35, 0, 0])
        for index, (event, place) in enumerate(zip(events, places, strict=True)):
            colour = self.theme.colour(index)
            line = Line(last, place["dot"], color=self.theme.muted, stroke_width=self.theme.stroke)
            dot = Circle(radius=0.13, color=colour, fill_color=colour, fill_opacity=1, stroke_width=0).move_to(place["dot"])
            dot.set_z_index(2)
            card = self._card(event, place, colour)
            stem = Line(place["dot"], place["stem"], color=colour, stroke_width=self.theme.hair * 1.4)
            first = round(each_s * 0.35, 1)
            self.play(Create(line), FadeIn(dot, scale=0.2), run_time=first)
            shift = 0.2 * (RIGHT if upright else UP if place["up"] else DOWN)
            self.play(Create(stem), FadeIn(card, shift=shift), run_time=first)
            self.wait(max(0.1, each_s - 2 * first))
            last = place["dot"]
        end = last + ([0, -0.3, 0] if upright else [0.3, 0, 0])
        self.play(Create(Line(last, end, color=self.theme.muted, stroke_width=self.theme.stroke)), run_time=0.3)

    def _upright(self, stage: kit.Box, count: int) -> list[dict[str, Any]]:
        x = stage.left + 0.4
        rows = stage.rows(*[1] * count, gap=0.16)
        return [
            {"dot": row.at(0, 0.5) + [0.4, 0, 0], "stem": row.at(0, 0.5) + [0.8, 0, 0], "up": False,
             "box": kit.Box(x + 0.5, row.bottom, stage.width - 0.9, row.height)}
            for row in rows
        ]  # fmt: skip

    def _lying(self, stage: kit.Box, count: int) -> list[dict[str, Any]]:
        """Cards above and below the line in turn: each has twice the room."""
        step = stage.width / (count + 1) if count > 1 else stage.width / 2
        wide = min(2 * step, 4.6) - 0.25 if count > 1 else 6.0
        places = []
        for i in range(count):
            x = stage.left + step * (i + 1)
            up = i % 2 == 0
            tall = min(stage.height / 2 - 0.6, 2.6)
            bottom = stage.y + 0.5 if up else stage.y - 0.5 - tall
            box = kit.Box(x - wide / 2, bottom, wide, tall)
            places.append({"dot": box.center * [1, 0, 0] + [0, stage.y, 0], "stem": [x, stage.y + (0.5 if up else -0.5), 0], "up": up, "box": box})
        return places

    def _card(self, event: dict[str, Any], place: dict[str, Any], colour: str) -> VGroup:
        theme, box = self.theme, place["box"]
        inner = box.inset(0.18, 0.1)
        # In a low row the year stands before its words, not above them.
        low = inner.height < 0.7
        first = min(1.4, 0.3 * inner.width) if low else inner.width
        tall = inner.height if low else inner.height * 0.45
        when = short(self, event["when"], "small", first, weight="BOLD", color=colour, height=min(0.5, tall))
        size = "small" if inner.width > 2.4 else "tiny"
        width = inner.width - when.width - 0.2 if low else inner.width
        tall = inner.height if low else max(0.2, inner.height - when.height - 0.12)
        what = self.text(event.get("what") or " ", size, width=width, height=tall, lines_max=4)
        words = VGroup(when, what).arrange(RIGHT if low else DOWN, buff=0.2 if low else 0.1)
        kit.fit(words, inner, at=None)
        tall = words.height + 0.26
        panel = self.panel(kit.Box(0, 0, box.width, tall), theme.wash(colour, 0.16))
        words.move_to(panel)
        card = VGroup(panel, words)
        if self.stage.tall or abs(place["stem"][1] - place["dot"][1]) < 1e-6:
            return card.move_to(box.center)
        edge = box.bottom if place["up"] else box.top
        return card.move_to([box.x, edge + (tall / 2 if place["up"] else -tall / 2), 0])
