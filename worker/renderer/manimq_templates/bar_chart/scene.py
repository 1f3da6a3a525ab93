"""Bar chart: bars grow one after the other; the largest is pointed out."""

from __future__ import annotations

from typing import Any

from manim import FadeIn, GrowFromEdge, LaggedStart, Line, Rectangle, VGroup

from .. import kit
from ..kit.short import numeral

_UPRIGHT_MAX = 8


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 5.4 + 0.55 * len(p["data"]) + max(0.0, kit.read_s(cls._said(p)) - 2.8)

    @staticmethod
    def _said(p: dict[str, Any]) -> str:
        """What the caption says of the largest."""
        most = max(p["data"], key=lambda each: each["value"])
        name = kit.clean(most["label"])
        value = f"{kit.given(most['value'])} {kit.clean(p.get('unit') or '')}".strip()
        return f"Largest: {name}, {value}" if len(p["data"]) > 1 and name else ""

    def heading(self) -> str:
        return "Bar chart"

    def story(self) -> None:
        theme, p = self.theme, self.p
        data = list(p["data"])
        if p.get("order", "given") != "given":
            data.sort(key=lambda each: each["value"], reverse=p["order"] == "descending")
        self.unit = kit.clean(p.get("unit") or "")
        upright = not self.stage.tall and len(data) <= _UPRIGHT_MAX and max(len(str(d["label"])) for d in data) <= 28
        axis, bars, labels, values = (self._upright if upright else self._lying)(data, self.stage.inset(0.1))
        edge = [0, -1, 0] if upright else [-1, 0, 0]
        self.play(FadeIn(axis), FadeIn(labels), run_time=0.8)
        growing = [
            GrowFromEdge(bar, edge if each["value"] >= 0 else [-c for c in edge])
            for bar, each in zip(bars, data, strict=True)
        ]
        self.play(LaggedStart(*growing, lag_ratio=0.45), run_time=0.55 * len(data) + 0.4)
        self.play(LaggedStart(*(FadeIn(each) for each in values), lag_ratio=0.1), run_time=0.7)
        most = max(range(len(data)), key=lambda i: data[i]["value"])
        self.play(
            bars[most].animate.set_fill(theme.amber),
            values[most].animate.set_fill(theme.amber),
            caption=self._said(p),
            run_time=0.8,
        )

    def _value(self, number: float, width: float) -> kit.Lines:
        return numeral(self, number, "small", width, self.unit, weight="MEDIUM")

    def _bar(self, width: float, height: float) -> Rectangle:
        return Rectangle(
            width=max(width, 0.02), height=max(height, 0.02), stroke_width=0, fill_color=self.theme.blue, fill_opacity=1
        )

    def _upright(self, data: list[dict[str, Any]], box: kit.Box) -> tuple[VGroup, list[Any], VGroup, VGroup]:
        slot = min(2.4, box.width / len(data))
        left = box.x - slot * len(data) / 2
        names = [
            self.text(d["label"], "small", color=self.theme.muted, width=slot * 0.92, height=0.95, lines_max=2, least=0.48)
            for d in data
        ]
        kit.even(names)
        foot = max((each.height for each in names), default=0) + 0.3
        low, high = min(0.0, *(d["value"] for d in data)), max(0.0, *(d["value"] for d in data))
        room = kit.Box(
            box.left,
            box.bottom + foot + (0.45 if low < 0 else 0),
            box.width,
            box.height - foot - 0.5 - (0.45 if low < 0 else 0),
        )
        unit = room.height / max(high - low, 1e-12)
        zero = room.bottom - low * unit
        bars, labels, values = [], VGroup(), VGroup()
        for i, (d, name) in enumerate(zip(data, names, strict=True)):
            x, tall = left + slot * (i + 0.5), d["value"] * unit
            bars.append(self._bar(slot * 0.62, abs(tall)).move_to([x, zero + tall / 2, 0]))
            labels.add(name.move_to([x, box.bottom + foot / 2 - 0.1, 0]))
            values.add(
                self._value(d["value"], slot * 0.96).move_to([x, zero + tall + (0.28 if tall >= 0 else -0.28), 0])
            )
        kit.even([*values])
        line = Line([left, zero, 0], [left + slot * len(data), zero, 0], color=self.theme.muted, stroke_width=2.5)
        return VGroup(line), bars, labels, values

    def _lying(self, data: list[dict[str, Any]], box: kit.Box) -> tuple[VGroup, list[Any], VGroup, VGroup]:
        slot = min(1.8 if box.tall else 1.15, box.height / len(data))
        top = box.y + slot * len(data) / 2
        names = [
            self.text(
                d["label"],
                "small",
                color=self.theme.muted,
                width=box.width * 0.3,
                height=slot * 0.86,
                align="right",
                lines_max=3, least=0.48,
            )
            for d in data
        ]
        aside = max((each.width for each in names), default=0) + 0.25
        numbers = [self._value(d["value"], box.width * 0.2) for d in data]
        kit.even(numbers)
        wide = max(each.width for each in numbers) + 0.2
        low, high = min(0.0, *(d["value"] for d in data)), max(0.0, *(d["value"] for d in data))
        start = box.left + aside + (wide if low < 0 else 0)
        unit = (box.right - wide - start) / max(high - low, 1e-12)
        zero = start - low * unit
        bars, labels, values = [], VGroup(), VGroup()
        for i, (d, name, number) in enumerate(zip(data, names, numbers, strict=True)):
            y, length = top - slot * (i + 0.5), d["value"] * unit
            bars.append(self._bar(abs(length), slot * 0.6).move_to([zero + length / 2, y, 0]))
            labels.add(name.move_to([box.left + aside - 0.25 - name.width / 2, y, 0]))
            away = number.width / 2 + 0.12
            values.add(number.move_to([zero + length + (away if length >= 0 else -away), y, 0]))
        line = Line([zero, top, 0], [zero, top - slot * len(data), 0], color=self.theme.muted, stroke_width=2.5)
        return VGroup(line), bars, labels, values
