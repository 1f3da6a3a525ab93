"""Number line: stretches, points, and jumps that lead from number to number."""

from __future__ import annotations

import math
from typing import Any

from manim import PI, UP, ArcBetweenPoints, Circle, Create, Dot, FadeIn, FadeOut, Line, Triangle, VGroup

from .. import kit

_OPEN_S = 0.7
"""To read what open ends are."""
_READABLE = 0.55
"""How much smaller the name of a short jump may be."""
_START_S, _JUMP_S = 1.1, 1.45
"""At least, where what is said is short."""


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        jumps, points, intervals = (len(p.get(name) or []) for name in ("jumps", "points", "intervals"))
        return (
            4.6 + (1.5 + sum(cls._jump_s(p)) if jumps else 0) + (1.3 + 0.25 * points if points else 0) + 1.45 * intervals
            + _OPEN_S * (cls._first_open(p) is not None)
        )

    @staticmethod
    def _first_open(p: dict[str, Any]) -> int | None:
        """The interval at which open ends are explained."""
        opens = (i for i, each in enumerate(p.get("intervals") or []) if each.get("from_open") or each.get("to_open"))
        return next(opens, None)

    @staticmethod
    def _stops(p: dict[str, Any]) -> list[float]:
        """Where it starts, and where each jump ends."""
        stops = [kit.value(p.get("start", 0))]
        for each in p.get("jumps") or []:
            stops.append(stops[-1] + kit.value(each))
        return stops

    @staticmethod
    def _names(p: dict[str, Any]) -> list[str]:
        """The jumps as their user wrote them, each with its sign."""
        return [("+" if kit.value(each) >= 0 else "−") + _size(each) for each in p.get("jumps") or []]

    @classmethod
    def _said(cls, p: dict[str, Any]) -> list[str]:
        """At the start, and at each jump."""
        stops, said = cls._stops(p), [f"Start at {kit.shown(p.get('start', 0))}".replace("-", "−")]
        for name, before, after in zip(cls._names(p), stops, stops[1:], strict=False):
            said.append(f"{name.lstrip('+−')} to the {'right' if after >= before else 'left'}: {kit.given(after)}")
        return said

    @classmethod
    def _jump_s(cls, p: dict[str, Any]) -> list[float]:
        """Seconds of the start and of each jump: numbers may have many digits to be read."""
        return [max(_JUMP_S if i else _START_S, kit.read_s(each)) for i, each in enumerate(cls._said(p))]

    def heading(self) -> str:
        jumps = self.p.get("jumps") or []
        if not jumps:
            return "On the number line"
        written = kit.shown(self.p.get("start", 0))
        for each in jumps:
            written += f" {'−' if kit.value(each) < 0 else '+'} {_size(each)}"
        return written.replace("-", "−") if len(written) < 60 else "Jumps on the number line"

    def story(self) -> None:
        p, stage = self.p, self.stage
        self.jumps = [kit.value(each) for each in p.get("jumps") or []]
        low, high = self.range = self._range()
        self._rows_below()
        self.left, self.right = stage.left + 0.35, stage.right - 0.35
        # Ticks a little apart, and as many as there is room for their numbers.
        step = kit.nice_step(
            high - low, max(3, int((self.right - self.left) / (0.95 + 0.12 * len(kit.num(max(abs(low), abs(high)))))))
        )
        line = kit.arrow([stage.left + 0.05, self.y, 0], [stage.right - 0.02, self.y, 0], self.theme.muted, 3.5)
        ticks, labels = VGroup(), VGroup()
        for at in kit.ticks_between(low, high, step)[:40]:
            x = self._x(at)
            ticks.add(Line([x, self.y - 0.1, 0], [x, self.y + 0.1, 0], color=self.theme.muted, stroke_width=2.5))
            label = self.text(kit.num(at, 6), "small", color=self.theme.muted, lines_max=1, width=1.6)
            labels.add(label.move_to([x, self.y - 0.38, 0]))
        kit.even([*labels])
        for before, after in zip(list(labels), list(labels)[1:], strict=False):
            if after.get_left()[0] < before.get_right()[0] + 0.08 and before in labels:
                labels.remove(after)
        self.labels = labels
        self.play(FadeIn(line), FadeIn(ticks), FadeIn(labels), run_time=0.9)
        self._intervals()
        self._points()
        if self.jumps:
            self._jump()

    def _rows_below(self) -> None:
        """Heights of what stands under the line, from the top: numbers, the result, points beside jumps, intervals."""
        stage, intervals = self.stage, len(self.p.get("intervals") or [])
        self.points_below = bool(self.jumps and self.p.get("points"))
        wanted = 0.62 + 0.62 * bool(self.jumps) + 1.3 * self.points_below + 0.72 * intervals
        most = (0.6 if self.jumps else 0.55) * stage.height
        scale = min(1.0, most / wanted)
        # In a tall frame arcs do not need all that is above.
        spare = max(0.0, (0.34 if stage.tall else 0.0 if self.jumps else 0.5) * stage.height - wanted)
        self.y = stage.bottom + wanted * scale + spare
        self.result_y = self.y - 0.9 * scale
        self.points_top_y = self.y - (0.62 + 0.62 * bool(self.jumps)) * scale - 0.18
        self.points_room = 1.3 * scale
        self.pitch = 0.72 * scale
        self.intervals_y = self.y - (0.62 + 0.62 * bool(self.jumps) + 1.3 * self.points_below) * scale - 0.3 * scale

    def _range(self) -> tuple[float, float]:
        if self.p.get("range"):
            low, high = sorted(kit.value(each) for each in self.p["range"])
        else:
            numbers = [0.0, *self._stops(self.p)] if self.jumps else []
            numbers += [kit.value(each["at"]) for each in self.p.get("points") or []]
            numbers += [kit.value(each[end]) for each in self.p.get("intervals") or [] for end in ("from", "to")]
            if not numbers:
                return -5.0, 5.0
            low, high = min(numbers), max(numbers)
            margin = max(1.0, 0.12 * (high - low))
            low, high = low - margin, high + margin
        return (low, high) if high - low > 1e-9 * max(1.0, abs(high)) else (low - 1, high + 1)

    def _x(self, number: float) -> float:
        low, high = self.range
        return self.left + (min(max(number, low), high) - low) / (high - low) * (self.right - self.left)

    def _inside(self, number: float) -> bool:
        slack = 1e-9 * (self.range[1] - self.range[0])
        return self.range[0] - slack <= number <= self.range[1] + slack

    def _intervals(self) -> None:
        theme, first_open = self.theme, self._first_open(self.p)
        for i, each in enumerate(self.p.get("intervals") or []):
            low, high = kit.value(each["from"]), kit.value(each["to"])
            opens = (bool(each.get("from_open")), bool(each.get("to_open")))
            if low > high:
                low, high, opens = high, low, opens[::-1]
            colour, y = theme.colour(i), self.intervals_y - self.pitch * i
            bar = VGroup(Line([self._x(low), y, 0], [self._x(high), y, 0], color=colour, stroke_width=8))
            for end, is_open, way in ((low, opens[0], -1), (high, opens[1], 1)):
                if self._inside(end):
                    bar.add(
                        Circle(
                            0.12,
                            color=colour,
                            stroke_width=4,
                            fill_color=theme.background if is_open else colour,
                            fill_opacity=1,
                        ).move_to([self._x(end), y, 0])
                    )
                else:  # it goes on outside
                    bar.add(
                        Triangle(color=colour, fill_opacity=1)
                        .scale(0.12)
                        .rotate(-way * PI / 2)
                        .move_to([self._x(end), y, 0])
                    )
            first, last = (self._end(each, number) for number in (low, high))
            written = f"{'(' if opens[0] else '['}{first}, {last}{')' if opens[1] else ']'}"
            name = kit.clean(each.get("label") or "")
            label = self.text(
                f"{name}  {written}".strip(), "tiny", color=colour, width=self.right - self.left, lines_max=1
            )
            label.scale(min(1.0, self.pitch / 0.62)).move_to(
                [(self._x(low) + self._x(high)) / 2, y - 0.42 * self.pitch, 0]
            )
            kit.keep_in(label, self.safe)
            self.play(
                FadeIn(bar),
                FadeIn(label),
                caption="Filled ends belong to it, open ones do not" if i == first_open else None,
                run_time=0.7,
            )
            self.wait(0.6 + _OPEN_S * (i == first_open))

    @staticmethod
    def _end(interval: dict[str, Any], number: float) -> str:
        """An end as its user wrote it."""
        return next((kit.shown(interval[n]) for n in ("from", "to") if kit.value(interval[n]) == number), kit.given(number))

    def _points(self) -> None:
        points = self.p.get("points") or []
        if not points:
            return
        dots, labels, stems = VGroup(), VGroup(), VGroup()
        # Labels in rows: the first row in which there is room. Above the line, or below it where jumps need the room.
        rows: list[float] = []
        below = self.points_below
        pitch = 0.42 if below else 0.45
        count = max(1, int(self.points_room / pitch) if below else int((self.stage.top - self.y - 0.4) / pitch))
        for i, each in sorted(enumerate(points), key=lambda e: kit.value(e[1]["at"])):
            number = kit.value(each["at"])
            if not self._inside(number):
                continue
            colour, x = self.theme.colour(i + 1), self._x(number)
            written = kit.clean(each.get("label") or "") or kit.shown(each["at"])
            label = self.text(written, "tiny" if below else "small", color=colour, width=3.0, lines_max=1)
            label.move_to([x, 0, 0])
            kit.keep_in(label, kit.Box(self.safe.left, -99, self.safe.width, 198))
            row = next((r for r, end in enumerate(rows) if label.get_left()[0] > end + 0.15), len(rows))
            dots.add(Dot([x, self.y, 0], radius=0.11, color=colour))
            if row >= count:
                continue  # a dot without a name, and not a heap of names
            if row == len(rows):
                rows.append(-math.inf)
            rows[row] = max(rows[row], label.get_right()[0])
            y = self.points_top_y - pitch * row if below else self.y + 0.42 + pitch * row
            label.set_y(y)
            if row or below:
                end = y + 0.16 if below else y - 0.2
                stems.add(
                    Line(
                        [x, self.y + (-0.12 if below else 0.12), 0], [x, end, 0], color=colour, stroke_width=1.5
                    ).set_opacity(0.4)
                )
            labels.add(kit.halo(label, self.theme.background, 5) if below else label)
        self.add(stems)
        if len(dots):
            self.play(*(FadeIn(each, scale=2) for each in dots), FadeIn(labels), FadeIn(stems), run_time=0.9)
        self.wait(0.4 + 0.25 * len(points))

    def _jump(self) -> None:
        theme, stops, names = self.theme, self._stops(self.p), self._names(self.p)
        said, seconds = self._said(self.p), self._jump_s(self.p)
        room = self.stage.top - self.y - 0.3
        names_shown: list[Any] = []
        marker = Dot([self._x(stops[0]), self.y, 0], radius=0.13, color=theme.amber)
        self.play(FadeIn(marker, scale=2.5), caption=said[0], run_time=0.7)
        self.wait(seconds[0] - 0.7)
        longest = max(abs(self._x(b) - self._x(a)) for a, b in zip(stops, stops[1:], strict=False))
        for i, (a, b) in enumerate(zip(stops, stops[1:], strict=False)):
            start, end = [self._x(a), self.y, 0], [self._x(b), self.y, 0]
            span = abs(end[0] - start[0])
            colour = theme.green if b >= a else theme.red
            moves = []
            if span > 0.05:
                tall = min(room - 0.55, 0.35 + 1.7 * span / max(longest, 1e-6), 0.5 * span + 0.5) if room > 1 else 0.5
                tall = max(0.3, tall) * (1 - 0.1 * (i % 3))
                bend = 4 * math.atan(2 * min(tall, 0.49 * span) / span)
                arc = ArcBetweenPoints(start, end, angle=-bend if b >= a else bend, color=colour, stroke_width=4)
                label = kit.halo(
                    self.text(
                        names[i], "small", color=colour, weight="SEMIBOLD", lines_max=1, width=max(0.5, span + 0.4)
                    ),
                    theme.background,
                )
                label.next_to(arc, UP, buff=0.1)
                kit.keep_in(label, self.safe)
                for _ in range(6):
                    if all(_apart(label, other) for other in names_shown) or label.get_top()[1] + 0.3 > self.stage.top:
                        break
                    label.shift(0.3 * UP)
                if label.shrunk < _READABLE or any(not _apart(label, other) for other in names_shown):
                    label.set_opacity(0)  # the caption says it; two names in one place say nothing
                else:
                    names_shown.append(label)
                moves = [Create(arc), FadeIn(label), marker.animate(path_arc=-bend if b >= a else bend).move_to(end)]
            self.play(*(moves or [marker.animate.move_to(end)]), caption=said[i + 1], run_time=0.95)
            self.wait(seconds[i + 1] - 0.95)
        result = self.text(
            f"= {kit.given(stops[-1])}", "heading", color=theme.amber, weight="BOLD", width=3, lines_max=1
        )
        result.scale(min(1.0, self.pitch / 0.72)).move_to([self._x(stops[-1]), self.result_y, 0])
        kit.keep_in(result, self.safe)
        # It says the number itself.
        below = [FadeOut(label) for label in self.labels if not _apart(label, result)]
        self.play(FadeIn(result), *below, run_time=0.6)


def _size(jump: Any) -> str:
    """How far a jump leads: as its user wrote it, where that without a sign in front is the number without its sign."""
    written, number = kit.shown(jump).strip(), kit.value(jump)
    bare = written.removeprefix("-").removeprefix("−").strip()
    is_bare = not set("+-−") & set(bare) and (bare != written) == (number < 0)
    return bare if is_bare else kit.given(abs(number))


def _apart(a: Any, b: Any) -> bool:
    across = abs(a.get_x() - b.get_x()) > (a.width + b.width) / 2 + 0.06
    return across or abs(a.get_y() - b.get_y()) > (a.height + b.height) / 2 + 0.03
