"""Array search: cells with numbers; a search looks at one after the other, or halves what is left."""

from __future__ import annotations

from typing import Any

from manim import DOWN, UP, FadeIn, FadeOut, LaggedStart, RoundedRectangle, Triangle, VGroup

from .. import kit
from ..kit.short import numeral

_LOOK_S = 2.2
_BODY_S = 18.0


def looks(algorithm: str, array: list[float], target: float) -> list[tuple[int, int, int]]:
    """Each look: the place, and the first and last place where the target could still be before it."""
    if algorithm == "linear":
        found = next((i for i, each in enumerate(array) if each == target), len(array) - 1)
        return [(i, i, len(array) - 1) for i in range(found + 1)]
    steps, low, high = [], 0, len(array) - 1
    while low <= high:
        middle = (low + high) // 2
        steps.append((middle, low, high))
        if array[middle] == target:
            break
        low, high = (middle + 1, high) if array[middle] < target else (low, middle - 1)
    return steps


def _said(number: float, target: float, binary: bool) -> str:
    """What a look at this number tells."""
    if number == target:
        return f"{kit.given(number)} is it"
    if binary:
        return f"{kit.given(number)} is too {'small: go right' if number < target else 'large: go left'}"
    return f"{kit.given(number)} is not it"


class Template(kit.TemplateScene):
    @classmethod
    def _plan(cls, p: dict[str, Any]) -> tuple[list[float], list[tuple[int, int, int]], list[float]]:
        """The cells, the looks, and how many seconds each look takes."""
        algorithm = p.get("algorithm", "binary")
        array = [float(each) for each in p["array"]]
        array = sorted(array) if algorithm == "binary" else array
        steps = looks(algorithm, array, float(p["target"]))
        # Whole tenths: at any rate of pictures the film is as long as was said.
        each = max(0.5, round(min(_LOOK_S, _BODY_S / len(steps)), 1))
        target = float(p["target"])
        return array, steps, [max(each, kit.read_s(_said(array[place], target, algorithm == "binary"))) for place, _, _ in steps]

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        _, _, times = cls._plan(p)
        return 7.7 + sum(times)

    def heading(self) -> str:
        return f"{self.p.get('algorithm', 'binary').capitalize()} search"

    def story(self) -> None:
        theme, p = self.theme, self.p
        array, steps, seconds = self._plan(p)
        target = float(p["target"])
        binary = p.get("algorithm", "binary") == "binary"
        top, room, below = self.stage.rows(0.7, self.stage.height - 1.6, 0.6, gap=0.15)
        wanted = self.text(f"looking for {kit.given(target)}", "heading", weight="BOLD", color=theme.amber, width=top.width)
        self._build(array, room)
        said = "The list is sorted: look in the middle, and drop a half" if binary else "Look at one after the other"
        self.play(
            FadeIn(wanted.move_to(top.center)), LaggedStart(*(FadeIn(each, shift=0.2 * UP) for each in self.cells), lag_ratio=0.06),
            caption=said, run_time=1.4,
        )  # fmt: skip
        self.wait(2.0)
        counter: Any = None
        found = False
        for number, ((place, low, high), look_s) in enumerate(zip(steps, seconds, strict=True), 1):
            found = array[place] == target
            counter = self._look(place, low, high, array[place], target, found, look_s, binary, (number, below, counter))
        after = kit.counted(len(steps), "look")
        written = f"Found after {after}" if found else f"It is not in the list: known after {after}"
        last = [] if found else [cell[0].animate.set_fill(theme.faint) for cell in self.cells]
        self.play(*last, caption=written, run_time=0.8)

    def _build(self, array: list[float], room: kit.Box) -> None:
        theme, count = self.theme, len(array)
        least = 1.1 if room.tall else 0.85
        columns = next((c for c in (count, -(-count // 2)) if room.width / c >= least), -(-count // 3))
        rows = -(-count // columns)
        size = min(1.25, room.width / columns, room.height / (rows * 1.75))
        self.cells = VGroup()
        for i, number in enumerate(array):
            row, column = divmod(i, columns)
            wide = min(columns, count - row * columns) if rows == 1 else columns
            x = room.x + (column - (wide - 1) / 2) * size
            y = room.y + ((rows - 1) / 2 - row) * size * 1.75
            cell = RoundedRectangle(
                width=size * 0.9, height=size * 0.9, corner_radius=0.1, stroke_width=0, fill_color=theme.wash(theme.blue, 0.4), fill_opacity=1
            )
            label = numeral(self, number, "body", size * 0.78, weight="MEDIUM")
            self.cells.add(VGroup(cell, label).move_to([x, y, 0]))
        self.pointer = Triangle(fill_opacity=1, stroke_width=0, fill_color=theme.amber).scale(0.16)
        self.size = size

    def _look(
        self, place: int, low: int, high: int, number: float, target: float, found: bool, seconds: float, binary: bool, count: Any
    ) -> Any:
        theme = self.theme
        cell = self.cells[place]
        at = cell.get_bottom() + 0.26 * DOWN
        fresh = self.pointer not in self.mobjects
        move = FadeIn(self.pointer.move_to(at), shift=0.2 * UP) if fresh else self.pointer.animate.move_to(at)
        number_of_look, box, old = count
        counter = self.text(f"looks: {number_of_look}", "small", color=theme.muted).move_to(box.center)
        if old is not None:
            self.remove(old)
        self.add(counter)
        first = round(seconds * 0.5, 1)
        self.play(move, cell[0].animate.set_fill(theme.amber), caption=_said(number, target, binary), run_time=first)
        after = [cell[0].animate.set_fill(theme.green if found else theme.faint)]
        if not found:
            after.append(cell[1].animate.set_color(theme.muted))
        if binary and not found:
            gone = range(low, place) if number < target else range(place + 1, high + 1)
            for i in gone:
                after += [self.cells[i][0].animate.set_fill(theme.faint), self.cells[i][1].animate.set_color(theme.muted)]
        self.play(*after, run_time=max(0.1, seconds - first))
        return counter
