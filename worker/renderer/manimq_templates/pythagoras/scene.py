"""Pythagoras: a² + b² = c², proved in one of three ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from manim import DOWN, LEFT, RIGHT, UP, Create, FadeIn, FadeOut, LaggedStart, Line, Polygon, RightAngle, Square, VGroup

from .. import kit

_CELLS_MAX = 169
_SECONDS = {"rearrange": 19.7, "squares": 15.0, "similar": 18.4}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return _SECONDS[p.get("proof", "rearrange")]

    def heading(self) -> str:
        return "The Pythagorean theorem"

    def story(self) -> None:
        p = self.p
        self.a, self.b = kit.value(p.get("a", 3)), kit.value(p.get("b", 4))
        self.c = math.hypot(self.a, self.b)
        # What is drawn: so flat a triangle could not be seen, only its numbers are the user's.
        ratio = float(np.clip(self.b / self.a, 0.45, 2.2))
        self.da, self.db = 1.0, ratio
        self.figure_box, self.words_box = self.figure_and_words(0.55, 0.68, below=True)
        {"rearrange": self._rearrange, "squares": self._squares, "similar": self._similar}[
            p.get("proof", "rearrange")
        ]()

    def _triangle(self, corner: np.ndarray, unit: float, **style: Any) -> Polygon:
        """Right angle at ``corner``, leg b to the right, leg a up."""
        return Polygon(corner, corner + unit * self.db * RIGHT, corner + unit * self.da * UP, **style)

    def _look(self, colour: str) -> dict[str, Any]:
        return {"color": colour, "stroke_width": 3, "fill_color": colour, "fill_opacity": 0.9}

    def _letters(self, written: str, colour: str, size: float = 34) -> kit.Lines:
        return self.text(written, size, color=colour, weight="SEMIBOLD", lines_max=1)

    def _formula(self, *parts: tuple[str, str], size: float = 46) -> kit.Lines:
        """Coloured texts on one base line, in the box of the words."""
        return kit.fit(self._row(parts, size), self.words_box.inset(0.1), at=None)

    def _row(self, parts: Sequence[tuple[str, str]], size: float) -> kit.Lines:
        """Drawn as one text, so that signs and descenders stand where they belong, then coloured."""
        row = self._letters(" ".join(written for written, _ in parts), self.theme.ink, size)
        glyphs = iter(row[0])
        for written, colour in parts:
            VGroup(*islice(glyphs, len("".join(written.split())))).set_color(colour)
        return row

    def _conclude(self) -> VGroup:
        """The theorem, and what it says of these numbers."""
        theme, box = self.theme, self.words_box
        law = self._formula(
            ("a²", theme.blue), ("+", theme.ink), ("b²", theme.amber), ("=", theme.ink), ("c²", theme.green), size=58
        )
        a, b, c = (_is(each) for each in (self.a, self.b, self.c))
        summands, whole = " + ".join(kit.num(each**2, 6) for each in (self.a, self.b)), _is(self.c**2, 6)
        squares = f"{summands} {whole}"
        numbers = VGroup(
            self.text(f"a {a},  b {b}", "body", color=theme.muted, width=box.width, lines_max=2),
            self.text(squares, "body", width=box.width, lines_max=2),
            self.text(
                f"c {c}",
                "body",
                color=theme.green,
                weight="SEMIBOLD",
                width=box.width,
                lines_max=1,
            ),
        ).arrange(DOWN, buff=0.22)
        block = VGroup(law, numbers).arrange(DOWN, buff=0.45)
        return kit.fit(block, box)

    def _show_conclusion(self, caption: str) -> None:
        law, numbers = self._conclude()
        self.play(FadeIn(law, shift=0.2 * UP), caption=caption, run_time=1.0)
        self.wait(0.6)
        self.play(LaggedStart(*(FadeIn(each, shift=0.15 * UP) for each in numbers), lag_ratio=0.4), run_time=1.5)

    # ------------------------------------------------------------- by moving parts

    def _rearrange(self) -> None:
        theme = self.theme
        square = self.figure_box.inset(0.5).square()
        a, b = self.da, self.db
        unit, s = square.width / (a + b), a + b

        def at(x: float, y: float) -> np.ndarray:
            return np.array([square.left + x * unit, square.bottom + y * unit, 0.0])

        corners = [
            ((0, 0), (a, 0), (0, b)),
            ((s, 0), (s, a), (a, 0)),
            ((s, s), (b, s), (s, a)),
            ((0, s), (0, b), (b, s)),
        ]
        look = self._look(theme.violet) | {"fill_opacity": 1, "stroke_color": theme.background}
        triangles = VGroup(*(Polygon(*(at(*p) for p in points), **look) for points in corners))
        outline = Square(square.width, color=theme.muted, stroke_width=3).move_to(square.center)

        first = triangles[1].copy()
        names = VGroup(
            self._letters("a", theme.blue).next_to(at(s, a / 2), RIGHT, buff=0.12),
            self._letters("b", theme.amber).next_to(at(a + b / 2, 0), DOWN, buff=0.1),
        )
        slope = (at(a, 0) + at(s, a)) / 2 + 0.33 * (np.array([-a, b, 0]) / math.hypot(a, b))
        side = self._letters("c", theme.green).move_to(slope)
        self.play(FadeIn(first), caption="A right triangle with the legs a and b", run_time=0.9)
        self.play(FadeIn(names), FadeIn(side), run_time=0.6)
        self.wait(0.9)
        self.play(
            FadeOut(side), FadeIn(outline), LaggedStart(*(FadeIn(t) for t in triangles), lag_ratio=0.35),
            caption="Four of them in a square of side a + b", run_time=1.5,
        )  # fmt: skip
        self.remove(first)
        self.wait(1.0)
        middle = Polygon(
            at(a, 0), at(s, a), at(b, s), at(0, b), stroke_width=0, fill_color=theme.green, fill_opacity=0.35
        )
        c2 = self._letters("c²", theme.green, 56).move_to(middle)
        self.add(middle, triangles)
        self.play(FadeIn(middle), FadeIn(c2), caption="What they leave free is the square on c", run_time=0.9)
        note = self._formula(("free:", theme.muted), ("c²", theme.green)).move_to(self.words_box.at(0.5, 0.62))
        self.play(FadeIn(note), run_time=0.4)
        self.wait(0.9)
        # The same four triangles, moved: they cover as much as before.
        self.play(
            FadeOut(c2),
            middle.animate.set_fill(opacity=0),
            caption="Move the triangles. They cover as much as before …",
            run_time=0.5,
        )
        self.play(triangles[0].animate.shift(unit * a * UP), run_time=0.9)
        self.play(triangles[2].animate.shift(unit * b * LEFT), run_time=0.9)
        self.play(triangles[3].animate.shift(unit * (a * RIGHT + b * DOWN)), run_time=0.9)
        small = Square(unit * a, stroke_width=0, fill_color=theme.blue, fill_opacity=0.35).move_to(at(a / 2, a / 2))
        large = Square(unit * b, stroke_width=0, fill_color=theme.amber, fill_opacity=0.35).move_to(
            at(a + b / 2, a + b / 2)
        )
        letters = VGroup(
            self._letters("a²", theme.blue, 46).move_to(small), self._letters("b²", theme.amber, 46).move_to(large)
        )
        self.play(
            FadeIn(small),
            FadeIn(large),
            FadeIn(letters),
            caption="… so what is free now is as large: a² and b²",
            run_time=0.9,
        )
        self.wait(1.7)
        self.play(FadeOut(note), run_time=0.3)
        self._show_conclusion("Both times the same area is free")

    # ------------------------------------------------------- squares on the sides

    def _squares(self) -> None:
        theme = self.theme
        a, b = self.da, self.db
        # Extent of the figure with its squares, in units, from the right angle at the origin.
        width, height = a + b + a, b + a + b
        unit = min(self.figure_box.width / width, self.figure_box.height / height) * 0.96
        origin = self.figure_box.center + unit * np.array([-(width / 2) + a, -(height / 2) + b, 0])
        triangle = self._triangle(origin, unit, **self._look(theme.violet))
        right, top = origin + unit * b * RIGHT, origin + unit * a * UP
        across = top - right
        outward = np.array([-across[1], across[0], 0]) * -1
        on_a = Polygon(origin, top, top + unit * a * LEFT, origin + unit * a * LEFT, **self._look(theme.blue))
        on_b = Polygon(origin, right, right + unit * b * DOWN, origin + unit * b * DOWN, **self._look(theme.amber))
        on_c = Polygon(right, top, top + outward, right + outward, **self._look(theme.green))
        for each in (on_a, on_b, on_c):
            each.set_fill(opacity=0.28)
        mark = RightAngle(
            Line(origin, right), Line(origin, top), length=0.22, color=theme.on(theme.violet), stroke_width=3
        )
        self.play(Create(triangle), caption="A right triangle", run_time=1.0)
        self.play(Create(mark), run_time=0.4)
        labels = VGroup(
            *(
                kit.fit(self._letters(name, colour, 46), kit.Box(0, 0, unit * 0.7, unit * 0.7), at=None).move_to(each)
                for name, colour, each in (
                    ("a²", theme.blue, on_a),
                    ("b²", theme.amber, on_b),
                    ("c²", theme.green, on_c),
                )
            )
        )
        whole = self._cells()
        for each, label, caption in zip(
            (on_a, on_b, on_c), labels, ("A square on each leg", None, "and one on the long side"), strict=True
        ):
            self.play(FadeIn(each, scale=0.6), FadeIn(label), caption=caption, run_time=0.9)
        self.wait(0.6)
        if whole:
            self._move_cells(on_a, on_b, on_c, labels, whole)
        else:
            flying = VGroup(on_a.copy(), on_b.copy())
            self.play(
                flying.animate.move_to(on_c).set_opacity(0.0), on_c.animate.set_fill(opacity=0.75),
                caption="The two small ones together are as large as the large one", run_time=1.6,
            )  # fmt: skip
            self.remove(flying)
        self._show_conclusion("The areas add up")

    def _cells(self) -> tuple[int, int, int] | None:
        """The sides, if they are whole numbers whose unit squares can be shown."""
        sides = tuple(round(each) for each in (self.a, self.b, self.c))
        exact = all(abs(n - v) < 1e-9 for n, v in zip(sides, (self.a, self.b, self.c), strict=True))
        true_shape = abs(self.b / self.a - self.db) < 1e-9
        return sides if exact and true_shape and sides[2] ** 2 <= _CELLS_MAX else None

    def _move_cells(
        self, on_a: Polygon, on_b: Polygon, on_c: Polygon, labels: VGroup, sides: tuple[int, int, int]
    ) -> None:
        def cells(square: Polygon, n: int, colour: str) -> VGroup:
            corner, *_ = p = square.get_vertices()
            right, up = (p[1] - p[0]) / n, (p[3] - p[0]) / n
            return VGroup(*(
                Polygon(*(corner + (i + x) * right + (j + y) * up for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))),
                        fill_color=colour, fill_opacity=0.85, stroke_color=self.theme.background, stroke_width=2)
                for i in range(n) for j in range(n)
            ))  # fmt: skip

        a, b, c = sides
        mine, other = cells(on_a, a, self.theme.blue), cells(on_b, b, self.theme.amber)
        goal = cells(on_c, c, self.theme.green)
        self.play(
            FadeIn(mine), FadeIn(other), FadeOut(labels), caption=f"{a * a} unit squares, and {b * b} …", run_time=0.8
        )
        self.wait(0.4)
        moving = [*mine, *other]
        for each, place in zip(moving, goal, strict=True):
            each.generate_target()
            each.target.become(place.copy().set_fill(each.get_fill_color()))
        from manim import MoveToTarget

        self.play(
            LaggedStart(*(MoveToTarget(each) for each in moving), lag_ratio=0.04),
            caption=f"… fill exactly the {c * c} of the square on c", run_time=2.6,
        )  # fmt: skip

    # ----------------------------------------------------------- similar triangles

    def _similar(self) -> None:
        theme = self.theme
        a, b = self.da, self.db
        c = math.hypot(a, b)
        box = self.figure_box.inset(0.55, 0.6)
        # The long side lies below; the height falls on it from the right angle.
        foot, tall = b * b / c, a * b / c
        unit = min(box.width / c, box.height / tall)
        left = box.center + unit * np.array([-c / 2, -tall / 2, 0])
        right, apex, base = left + unit * c * RIGHT, left + unit * np.array([foot, tall, 0]), left + unit * foot * RIGHT
        whole = Polygon(left, right, apex, color=theme.ink, stroke_width=4)
        one = Polygon(left, base, apex, **self._look(theme.amber)).set_fill(opacity=0.4)
        two = Polygon(base, right, apex, **self._look(theme.blue)).set_fill(opacity=0.4)
        mark = RightAngle(Line(apex, left), Line(apex, right), length=0.25, color=theme.ink, stroke_width=3)
        names = VGroup(
            self._letters("b", theme.amber).move_to((left + apex) / 2 + 0.35 * self._out(left, apex)),
            self._letters("a", theme.blue).move_to((right + apex) / 2 - 0.35 * self._out(right, apex)),
            self._letters("c", theme.green).next_to((left + right) / 2, DOWN, buff=0.55),
        )
        height = Line(apex, base, color=theme.muted, stroke_width=3)
        parts = VGroup(
            self._letters("p", theme.amber, 30).next_to((left + base) / 2, DOWN, buff=0.14),
            self._letters("q", theme.blue, 30).next_to((base + right) / 2, DOWN, buff=0.14),
        )
        self.play(Create(whole), Create(mark), caption="A right triangle on its long side c", run_time=1.2)
        self.play(FadeIn(names), run_time=0.5)
        self.wait(0.4)
        self.play(Create(height), caption="Its height cuts c into p and q", run_time=0.8)
        self.play(FadeIn(parts), run_time=0.5)
        self.wait(0.5)
        lines = self._steps(
            ((("p", theme.amber), (":", theme.ink), ("b", theme.amber), ("=", theme.ink), ("b", theme.amber), (":", theme.ink),
              ("c", theme.green)), (("so", theme.muted), ("b² = p·c", theme.amber))),
            ((("q", theme.blue), (":", theme.ink), ("a", theme.blue), ("=", theme.ink), ("a", theme.blue), (":", theme.ink),
              ("c", theme.green)), (("so", theme.muted), ("a² = q·c", theme.blue))),
            ((("a² + b²", theme.ink),), (("= (p + q)·c =", theme.ink), ("c²", theme.green))),
        )  # fmt: skip
        self.play(FadeIn(one), caption="The left part has the angles of the whole: it is similar to it", run_time=0.8)
        self.play(FadeIn(lines[0], shift=0.15 * UP), run_time=0.7)
        self.wait(1.3)
        self.play(FadeIn(two), caption="So is the right part", run_time=0.8)
        self.play(FadeIn(lines[1], shift=0.15 * UP), run_time=0.7)
        self.wait(0.9)
        self.play(FadeIn(lines[2], shift=0.15 * UP), caption="Together p and q are c", run_time=0.8)
        self.wait(1.2)
        self.play(FadeOut(lines), run_time=0.4)
        self._show_conclusion("So the squares of the legs add up to the square of c")

    def _steps(self, *steps: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]) -> VGroup:
        """Formulas below each other; in a narrow box each is broken in two, so that it can be read."""
        box = self.words_box.inset(0.05)
        rows = VGroup(*(self._row((*first, *second), 36) for first, second in steps))
        if rows.width > 1.2 * box.width:
            rows = VGroup(*(
                VGroup(self._row(first, 36), self._row(second, 36)).arrange(DOWN, buff=0.14) for first, second in steps
            ))  # fmt: skip
        return kit.fit(rows.arrange(DOWN, buff=0.45), box)

    @staticmethod
    def _out(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        way = (end - start) / np.linalg.norm(end - start)
        return np.array([-way[1], way[0], 0])


def _is(value: float, digits: int = 4) -> str:
    """A number, not zero, as it is written, after "=", or after "≈" where that is not all of it."""
    written = kit.num(value, digits)
    meant = float(f"{value:.{digits - 1}e}" if "×" in written else written)
    return f"{'=' if abs(meant - value) <= 1e-9 * value else '≈'} {written}"
