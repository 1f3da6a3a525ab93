"""Pie chart: a circle fills slice by slice; names stand beside it, shares on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import PI, TAU, FadeIn, LEFT, RoundedRectangle, Sector, VGroup

from .. import kit

_SLICE_S = 1.2
_BODY_S = 9.0
_EVEN = 0.62
"""Of the usual size: all names have one, unless one of them is far too long."""


class Template(kit.TemplateScene):
    @classmethod
    def _slice_s(cls, p: dict[str, Any]) -> float:
        # Whole tenths: at any rate of pictures the film is as long as was said.
        return round(min(_SLICE_S, _BODY_S / len(p["shares"])), 1)

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 5.2 + len(p["shares"]) * cls._slice_s(p)

    def heading(self) -> str:
        return "Shares of a whole"

    def story(self) -> None:
        theme, shares = self.theme, self.p["shares"]
        values = [max(0.0, float(each["value"])) for each in shares]
        total = sum(values) or 1.0
        narrow = not self.stage.tall and self.stage.width < 9
        self.small = "tiny" if narrow else "small"
        chart, legend = self.stage.split(0.72 if narrow else 1.1, 1, gap=0.4)
        radius = min(chart.width, chart.height) / 2 * 0.96
        rows = legend.rows(*[1] * len(shares), gap=0.12)
        tall = min(0.75, rows[0].height)
        spare = (legend.height - (tall + 0.12) * len(shares)) / 2
        percents = [f"{kit.num(100 * value / total, 3)} %" for value in values]
        shown_shares = [self._share(percent, tall) for percent in percents]
        side, aside = min(0.34, tall * 0.6), max(each.width for each in shown_shares)
        room = (legend.width - side - 0.22 - aside - 0.25, tall * 0.92, 2 if tall >= 0.55 else 1)
        size = max(_EVEN * theme.body, min(self._size(each["label"], *room) for each in shares))
        said = f"All together: {kit.given(sum(values))}"
        self.play(caption=said, run_time=0.5)
        start, each_s = PI / 2, self._slice_s(self.p)
        for index, (share, value) in enumerate(zip(shares, values, strict=True)):
            colour, angle = theme.colour(index), TAU * value / total
            wedge = Sector(radius=radius, angle=-angle, start_angle=start, fill_color=colour, fill_opacity=1, stroke_color=theme.background, stroke_width=3)
            wedge.shift(chart.center)
            middle = start - angle / 2
            percent = percents[index]
            row = kit.Box(legend.left, legend.top - spare - (index + 1) * (tall + 0.12), legend.width, tall)
            entry = self._entry(share["label"], shown_shares[index], colour, row, side, size, room)
            start -= angle
            shown = [FadeIn(entry, shift=0.2 * LEFT)]
            if angle > 1e-4:
                shown.insert(0, FadeIn(wedge, scale=0.9))
            if angle * radius * 0.66 > 0.85:
                at = chart.center + 0.66 * radius * np.array([math.cos(middle), math.sin(middle), 0])
                shown.append(FadeIn(self.text(percent, self.small, weight="BOLD", color=theme.on(colour), width=1.3, lines_max=1).move_to(at).set_z_index(2)))
            quick = round(each_s * 0.6, 1)
            self.play(*shown, run_time=max(0.1, quick))
            self.wait(max(0.1, each_s - max(0.1, quick)))
        best = max(range(len(values)), key=values.__getitem__)
        self.play(caption=f"The largest share: {kit.clean(shares[best]['label'])}, {kit.num(100 * values[best] / total, 3)} %", run_time=0.6)

    def _share(self, percent: str, tall: float) -> kit.Lines:
        return self.text(percent, self.small, color=self.theme.muted, width=1.4, height=tall, lines_max=1)

    def _size(self, label: str, width: float, height: float, lines_max: int) -> float:
        """What leaves a name in its room."""
        body = self.theme.body
        return body * kit.planned(self.theme, label, body, width=width, height=height, lines_max=lines_max)[1]

    def _entry(
        self, label: str, share: kit.Lines, colour: str, row: kit.Box, side: float, size: float, room: tuple[float, float, int]
    ) -> VGroup:
        key = RoundedRectangle(width=side, height=side, corner_radius=0.06, stroke_width=0, fill_color=colour, fill_opacity=1)
        key.move_to([row.left + side / 2, row.y, 0])
        share.move_to([row.right - share.width / 2, row.y, 0])
        width, height, lines_max = room
        name = self.text(label, size, width=width, height=height, lines_max=lines_max, align="left")
        name.move_to([row.left + side + 0.22 + name.width / 2, row.y, 0])
        return VGroup(key, name, share)
