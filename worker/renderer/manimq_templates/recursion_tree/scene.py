"""Recursion tree: each call appears under its caller, waits for its own calls, and returns."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from manim import DOWN, FadeIn, Line, RoundedRectangle, VGroup

from .. import kit
from .calls import SHORT, Call, all_of, calls_of

_STEP_S = 0.42
_READ_S = 1.7
"""For what is said the first time."""
_RULES = {
    "fibonacci": "fib(n) = fib(n − 1) + fib(n − 2), and fib(1) = 1, fib(0) = 0",
    "factorial": "fact(n) = n · fact(n − 1), and fact(1) = 1",
}


class Template(kit.TemplateScene):
    @staticmethod
    def _root(p: dict[str, Any]) -> Call:
        return calls_of(p.get("f", "fibonacci"), int(p.get("n", 5)), bool(p.get("memo")))

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        calls = all_of(cls._root(p))
        kinds = {"call" if each.children else each.kind for each in calls}
        # A call says two things the first time: what it waits for, and what it returns.
        said = len(kinds) + ("call" in kinds)
        return 6.4 + _STEP_S * sum(2 if each.children else 1 for each in calls) + _READ_S * said

    def heading(self) -> str:
        root = self._root(self.p)
        return f"The calls of {self._name(root)}" + (", with notes" if self.p.get("memo") else "")

    def _name(self, call: Call) -> str:
        return f"{SHORT[self.p.get('f', 'fibonacci')]}({call.n})"

    def story(self) -> None:
        theme, root = self.theme, self._root(self.p)
        calls = all_of(root)
        function = self.p.get("f", "fibonacci")
        upper, box = self.stage.rows(0.6, self.stage.height - 0.6, gap=0.2)
        rule = self.text(_RULES[function], "small", color=theme.muted, width=upper.width, height=upper.height, lines_max=2)
        self.play(FadeIn(rule.move_to(upper.center)), run_time=0.6)
        self.wait(0.8)
        columns, rows = 1 + max(each.column for each in calls), 1 + max(each.row for each in calls)
        self.step, self.row = min(1.9, box.width / columns), min(1.5, box.height / rows)
        self.left, self.top = box.x - self.step * (columns - 1) / 2, box.y + self.row * (rows - 1) / 2
        self.wide, self.tall = min(1.3, 0.9 * self.step), min(0.9, 0.72 * self.row)
        label = self.text(self._name(root), "small", weight="MEDIUM", lines_max=1)
        self.size = min(1.0, 0.84 * self.wide / label.width, 0.4 * self.tall / label.height)
        self.pills: dict[int, VGroup] = {}
        self.said: set[str] = set()
        self._call(root, None)
        self._end(root, calls)

    def _at(self, call: Call) -> np.ndarray:
        return np.array([self.left + self.step * call.column, self.top - self.row * call.row, 0.0])

    def _once(self, what: str, caption: str) -> str | None:
        """A caption that is needed only the first time."""
        if what in self.said:
            return None
        self.said.add(what)
        return caption

    def _call(self, call: Call, caller: Call | None) -> None:
        theme = self.theme
        colour = {"base": theme.green, "noted": theme.amber}.get(call.kind, theme.blue)
        body = RoundedRectangle(
            width=self.wide, height=self.tall, corner_radius=min(0.14, 0.3 * self.wide), stroke_color=colour, stroke_width=2.5,
            fill_color=theme.wash(colour, 0.18), fill_opacity=1,
        ).move_to(self._at(call))  # fmt: skip
        name = self.text(self._name(call), "small", weight="MEDIUM", lines_max=1).scale(self.size)
        name.move_to(self._at(call) + [0, 0.22 * self.tall, 0])
        pill = self.pills[id(call)] = VGroup(body, name)
        arrives = [FadeIn(pill, shift=0.1 * DOWN)]
        if caller is not None:
            below = self._at(caller) - [0, self.tall / 2, 0]
            line = Line(below, self._at(call) + [0, self.tall / 2, 0], color=theme.muted, stroke_width=2.5)
            arrives.append(FadeIn(line))
        shown = self._name(call)
        if call.children:
            said = self._once("call", f"{shown} calls {self._name(call.children[0])}, and waits for what it returns")
            self.play(*arrives, caption=said, run_time=_STEP_S)
            if said is not None:
                self.wait(_READ_S)
            for each in call.children:
                self._call(each, call)
            sign = " + " if len(call.children) == 2 else f" = {call.n} · "
            parts = [str(each.value) for each in call.children]
            sum_of = f"{call.value} = {sign.join(parts)}" if len(parts) == 2 else f"{call.value}{sign}{parts[0]}"
            self._return(call, [], self._once("sum", f"{shown} has all it waited for, and returns {sum_of}"))
        elif call.kind == "noted":
            self._return(call, arrives, self._once("noted", f"{shown} was computed before: its value is read from the notes"))
        else:
            self._return(call, arrives, self._once("base", f"{shown} is known: it returns {call.value} at once"))

    def _return(self, call: Call, arrives: list[Any], caption: str | None) -> None:
        theme = self.theme
        value = self.text(str(call.value), "small", weight="BOLD", color=theme.green if call.kind != "noted" else theme.amber, lines_max=1)
        value.scale(min(1.0, 1.15 * self.size, 0.84 * self.wide / value.width)).move_to(self._at(call) - [0, 0.22 * self.tall, 0])
        self.play(*arrives, FadeIn(value, shift=0.1 * DOWN), caption=caption, run_time=_STEP_S)
        if caption is not None:
            self.wait(_READ_S)

    def _end(self, root: Call, calls: list[Call]) -> None:
        counts = Counter(each.n for each in calls if each.children)
        again = max(counts, key=lambda n: (counts[n], n), default=None)
        said = f"{self._name(root)} = {root.value}, after {kit.counted(len(calls), 'call')}"
        if self.p.get("memo"):
            self.play(caption=f"{said}: with notes, nothing is computed twice", run_time=0.6)
            return
        if again is None or counts[again] < 2:
            self.play(caption=said, run_time=0.6)
            return
        same = [each for each in calls if each.n == again]
        lit = [self.pills[id(each)][0].animate.set_stroke(self.theme.red, 5) for each in same]
        name = self._name(same[0])
        self.play(*lit, caption=f"{said}: {name} alone was computed {len(same)} times", run_time=0.8)
