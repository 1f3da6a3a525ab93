"""Binary number: places that are worth 1, 2, 4, 8 …; a number is taken apart, or two are combined bit by bit."""

from __future__ import annotations

from typing import Any

from manim import DOWN, UP, FadeIn, LaggedStart, RoundedRectangle, VGroup

from .. import kit

_NAMES = {"add": "+", "and": "AND", "or": "OR", "xor": "XOR"}
_WHY = {
    "and": "AND: 1 where both are 1",
    "or": "OR: 1 where one of them is 1, or both",
    "xor": "XOR: 1 where they differ",
    "add": "From the right: 1 + 1 is 10, write 0 and carry 1",
}


def combined(operation: str, a: int, b: int) -> int:
    """What the operation gives."""
    return {"add": a + b, "and": a & b, "or": a | b, "xor": a ^ b}[operation]


class Template(kit.TemplateScene):
    @classmethod
    def _bits(cls, p: dict[str, Any]) -> int:
        operation, value = p.get("operation", "convert"), int(p["value"])
        other = int(p.get("other", 1))
        largest = value if operation == "convert" else max(value, other, combined(operation, value, other))
        return max(4, largest.bit_length())

    @classmethod
    def _bit_s(cls, p: dict[str, Any]) -> float:
        # Whole tenths: at any rate of pictures the film is as long as was said.
        return round(min(1.9, 14.0 / cls._bits(p)), 1)

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return (5.6 if p.get("operation", "convert") == "convert" else 6.8) + cls._bits(p) * cls._bit_s(p)

    def heading(self) -> str:
        p = self.p
        if p.get("operation", "convert") == "convert":
            return f"{p['value']} in binary"
        return f"{p['value']} {_NAMES[p['operation']]} {p.get('other', 1)} in binary"

    def story(self) -> None:
        bits = self._bits(self.p)
        stage = self.stage
        sign = 0.0 if self.p.get("operation", "convert") == "convert" else 1.0
        self.size = min(1.05, (stage.width - sign) / (bits + 0.4))
        self.left = stage.x + sign / 2 - bits * self.size / 2
        if self.p.get("operation", "convert") == "convert":
            self._convert(bits, stage)
        else:
            self._combine(bits, stage)

    def _x(self, bit: int, bits: int) -> float:
        return self.left + (bits - bit - 0.5) * self.size

    def _cell(self, bit: int, bits: int, y: float, digit: int | None, colour: str) -> VGroup:
        theme = self.theme
        on = digit == 1
        box = RoundedRectangle(width=self.size * 0.88, height=self.size * 0.88, corner_radius=0.1 * self.size, stroke_width=0, fill_opacity=1)
        box.set_fill(colour if on else theme.panel)
        group = VGroup(box)
        if digit is not None:
            ink = theme.on(colour) if on else theme.muted
            group.add(self.text(str(digit), 40 * self.size, weight="BOLD", color=ink, width=self.size * 0.7))
        return group.move_to([self._x(bit, bits), y, 0])

    def _weights(self, bits: int, y: float) -> VGroup:
        return VGroup(
            *(
                self._weight(bit).move_to([self._x(bit, bits), y, 0]) for bit in reversed(range(bits))
            )
        )

    def _weight(self, bit: int) -> Any:
        """What a place is worth: written out where there is room, else as a power of two."""
        room = self.size * 0.86
        label = self.text(2**bit, "small", color=self.theme.muted, lines_max=1)
        if label.width * 0.62 <= room or bit < 4:
            return kit.fit(label, kit.Box(0, 0, room, 1), at=None)
        power = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(bit))
        return self.text(f"2{power}", "small", color=self.theme.muted, width=room, lines_max=1)

    def _convert(self, bits: int, stage: kit.Box) -> None:
        theme, value = self.theme, int(self.p["value"])
        y = stage.y + 0.2
        weights = self._weights(bits, y + self.size * 0.5 + 0.4)
        cells = [self._cell(bit, bits, y, None, theme.amber) for bit in reversed(range(bits))]
        left_box = kit.Box(stage.left, y + self.size * 0.5 + 0.75, stage.width, max(0.5, stage.top - (y + self.size * 0.5 + 0.75)))
        rest = self._rest(value, left_box)
        self.play(
            LaggedStart(*(FadeIn(each) for each in cells), lag_ratio=0.05), LaggedStart(*(FadeIn(each, shift=0.15 * DOWN) for each in weights), lag_ratio=0.05),
            FadeIn(rest), caption="Each place is worth twice the one to its right", run_time=1.4,
        )  # fmt: skip
        self.wait(0.8)
        left, each_s, parts = value, self._bit_s(self.p), []
        sum_box = kit.Box(stage.left, stage.bottom, stage.width, max(0.4, y - self.size * 0.5 - 0.25 - stage.bottom))
        total: Any = None
        for index, bit in enumerate(reversed(range(bits))):
            worth = 2**bit
            digit = 1 if left >= worth else 0
            said = f"{worth} fits into {left}: 1, {left - worth} left" if digit else f"{worth} does not fit into {left}: 0"
            filled = self._cell(bit, bits, y, digit, theme.amber)
            changes = [FadeIn(filled)]
            left -= worth * digit
            gone = [cells[index]]
            if digit:
                parts.append(worth)
                weights[index].set_color(theme.amber)
                fresh = self._rest(left, left_box)
                gone.append(rest)
                rest = fresh
                changes.append(FadeIn(rest))
                if total is not None:
                    gone.append(total)
                total = self.text(" + ".join(map(str, parts)), "body", color=theme.amber, width=sum_box.width, height=sum_box.height, lines_max=2)
                changes.append(FadeIn(total.move_to(sum_box.center)))
            self.remove(*gone)
            quick = round(min(0.5, each_s * 0.6), 1)
            self.play(*changes, caption=said if each_s > 0.75 else None, run_time=max(0.1, quick))
            self.wait(max(0.1, each_s - max(0.1, quick)))
        self.play(caption=f"{value} = {value:b} in binary", run_time=0.6)

    def _rest(self, left: int, box: kit.Box) -> Any:
        return self.text(f"left: {left}", "heading", weight="BOLD", width=box.width, height=min(0.6, box.height)).move_to(box.center)

    def _combine(self, bits: int, stage: kit.Box) -> None:
        theme, p = self.theme, self.p
        operation, a, b = p["operation"], int(p["value"]), int(p.get("other", 1))
        result = combined(operation, a, b)
        step = min(self.size * 1.15, (stage.height - 0.9) / 3.4)
        top = stage.y + step * 1.05
        weights = self._weights(bits, top + self.size * 0.5 + 0.3)
        rows = [
            VGroup(*(self._cell(bit, bits, top - row * step, number >> bit & 1, colour) for bit in reversed(range(bits))))
            for row, (number, colour) in enumerate(((a, theme.blue), (b, theme.amber)))
        ]
        sign = self.text(_NAMES[operation], "body", weight="BOLD", color=theme.muted, width=0.9, lines_max=1)
        sign.move_to([self.left - 0.12 - sign.width / 2, top - step, 0])
        rule = self.rule([self.left, top - 1.55 * step, 0], [self.left + bits * self.size, top - 1.55 * step, 0], theme.muted)
        self.play(FadeIn(weights), *(LaggedStart(*(FadeIn(each) for each in row), lag_ratio=0.05) for row in rows), run_time=1.4, caption=f"{a} and {b}, bit by bit")
        self.play(FadeIn(sign), FadeIn(rule), run_time=0.5)
        self.play(caption=_WHY[operation], run_time=0.6)
        self.wait(0.8)
        carry, each_s = 0, self._bit_s(p)
        for bit in range(bits):
            one, two = a >> bit & 1, b >> bit & 1
            filled = self._cell(bit, bits, top - 2.1 * step, result >> bit & 1, theme.green)
            changes = [FadeIn(filled, shift=0.15 * DOWN)]
            if operation == "add":
                carry = (one + two + carry) >> 1
                if carry and bit + 1 < bits:
                    label = self.text("+1", "tiny", color=theme.red, width=self.size * 0.8)
                    changes.append(FadeIn(label.move_to([self._x(bit + 1, bits), top - 1.5 * step + 0.02, 0]), shift=0.1 * UP))
                    rule.set_z_index(-1)
                    label.set_z_index(1)
                    label.shift([0, -0.16 if step > 0.9 else -0.1, 0])
            quick = round(min(0.6, each_s * 0.6), 1)
            self.play(*changes, run_time=max(0.1, quick))
            self.wait(max(0.1, each_s - max(0.1, quick)))
        self.play(caption=f"{a} {_NAMES[operation]} {b} = {result}", run_time=0.6)
