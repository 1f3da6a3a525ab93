"""Sorting: bars with their numbers; what is compared lights up, what is swapped changes places."""

from __future__ import annotations

from typing import Any

from manim import UP, FadeIn, LaggedStart, RoundedRectangle, VGroup

from .. import kit
from ..kit.short import numeral
from .steps import steps_of

_BODY_S = 13.0
"""About what all steps together may take; many steps go by faster."""
_COMPARE, _SWAP, _NOTE = 1.0, 1.5, 1.2
_LEAST_S = 0.1


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 5.2 + sum(cls._times(p))

    @classmethod
    def _times(cls, p: dict[str, Any]) -> list[float]:
        """How long each step takes."""
        steps = steps_of(p.get("algorithm", "bubble"), p["array"])
        weights = [{"compare": _COMPARE, "note": _NOTE if s.note else 0.5}.get(s.kind, _SWAP) for s in steps]
        unit = min(0.75, _BODY_S / max(sum(weights), 1e-9))
        # Whole tenths: at any rate of pictures the film is as long as was said.
        times = [max(_LEAST_S, round(10 * unit * each) / 10) for each in weights]
        # A note is up until the next new one, or until "Sorted".
        first = {s.note: i for i, s in reversed(list(enumerate(steps))) if s.note}
        starts = sorted(first.values())
        for start, end in zip(starts, [*starts[1:], len(times)], strict=True):
            short = kit.read_s(steps[start].note) - sum(times[start:end])
            times[start] = round(times[start] + max(0.0, short), 1)
        return times

    def heading(self) -> str:
        return f"{self.p.get('algorithm', 'bubble').capitalize()} sort"

    def story(self) -> None:
        theme, p = self.theme, self.p
        array = [float(each) for each in p["array"]]
        stage = self.stage
        counters, room = stage.rows(0.5, stage.height - 0.5, gap=0.15)
        self._build(array, room)
        self.counts = {"comparisons": 0, "moves": 0}
        self.counter_box = counters
        self.counter = self._counter()
        self.play(
            LaggedStart(*(FadeIn(each, shift=0.3 * UP) for each in self.bars), lag_ratio=0.08),
            FadeIn(self.counter),
            run_time=1.2,
        )
        self.done: set[int] = set()
        self._noted: set[str] = set()
        for step, seconds in zip(steps_of(p.get("algorithm", "bubble"), p["array"]), self._times(p), strict=True):
            self._step(step, seconds)
        self.play(
            *(self._paint(each, theme.green) for each in self.bars),
            caption=f"Sorted, with {kit.counted(self.counts['comparisons'], 'comparison')}", run_time=0.8,
        )  # fmt: skip

    def _build(self, array: list[float], room: kit.Box) -> None:
        theme, count = self.theme, len(array)
        slot = min(1.25, room.width / count)
        left = room.x - slot * count / 2
        self.places = [left + slot * (i + 0.5) for i in range(count)]
        low, high = min(0.0, *array), max(0.0, *array)
        label_height = 0.45
        usable = min(room.height - 2 * label_height, 1.1 * room.width) - 0.1
        base = room.y - (usable + label_height) / 2 + label_height
        self.bars = []
        for i, number in enumerate(array):
            tall = 0.25 + (usable - 0.25) * (number - low) / max(high - low, 1e-9)
            bar = RoundedRectangle(
                width=slot * 0.72, height=tall, corner_radius=min(0.1, tall / 2.1), stroke_width=0,
                fill_color=theme.blue, fill_opacity=1,
            ).move_to([self.places[i], base + tall / 2, 0])  # fmt: skip
            label = numeral(self, number, "small", slot * 0.9, weight="MEDIUM")
            label.move_to([self.places[i], base - label_height / 2, 0])
            self.bars.append(VGroup(bar, label))
        kit.even([each[1] for each in self.bars])

    def _counter(self) -> VGroup:
        c = self.counts
        written = f"Comparisons: {c['comparisons']} · Moves: {c['moves']}"
        return self.text(written, "small", color=self.theme.muted, width=self.counter_box.width).move_to(
            self.counter_box.center
        )

    def _paint(self, bar: VGroup, colour: str) -> Any:
        return bar[0].animate.set_fill(colour)

    def _rest(self, place: int) -> str:
        return self.theme.green if place in self.done else self.theme.blue

    def _count(self, what: str) -> None:
        self.counts[what] += 1
        self.remove(self.counter)
        self.counter = self._counter()
        self.add(self.counter)

    def _step(self, step: Any, seconds: float) -> None:
        theme, bars = self.theme, self.bars
        if step.kind == "note":
            self.done |= set(step.done)
            painted = [self._paint(bars[i], theme.green) for i in step.done]
            note = step.note or None
            if note in self._noted:
                note = None  # said already: notes that take turns with each pass cannot be read
            self._noted.add(step.note)
            if painted or note is not None:
                self.play(*painted, caption=note, run_time=min(0.5, seconds))
                seconds -= min(0.5, seconds)
            if seconds > 0.04:
                self.wait(seconds)
        elif step.kind == "compare":
            self._count("comparisons")
            pair = [bars[step.i], bars[step.j]]
            for each in pair:
                each[0].set_fill(theme.amber)
            self.wait(seconds)
            for place in (step.i, step.j):
                bars[place][0].set_fill(self._rest(place))
        else:
            self._count("moves")
            first, last = sorted((step.i, step.j))
            if step.kind == "swap":
                order = {step.i: step.j, step.j: step.i}
            else:  # one goes to the front, those between make room
                order = {step.i: last if step.j == last else first} | {k: k + 1 for k in range(first, last)}
            moving = [bars[k] for k in order]
            for each in moving:
                each[0].set_fill(theme.red)
            goals = [
                each.animate(path_arc=0.0).set_x(self.places[order[k]]) for k, each in zip(order, moving, strict=True)
            ]
            self.play(*goals, run_time=seconds)
            before = list(bars)
            for k, to in order.items():
                bars[to] = before[k]
            for to in order.values():
                bars[to][0].set_fill(self._rest(to))
