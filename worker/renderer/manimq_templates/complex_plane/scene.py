"""Complex numbers: arrows in a plane; a product turns and stretches, roots stand evenly on a circle."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
from manim import (
    Circle,
    Create,
    DashedLine,
    FadeIn,
    Polygon,
    ValueTracker,
    VGroup,
    VMobject,
    always_redraw,
    rate_functions,
)

from .. import kit

_NAMES = "zwuv"
_SECONDS = {"show": 1.0, "add": 2.2, "multiply": 6.9, "conjugate": 2.3, "power": 2.3, "roots": 4.2, "map": 5.0}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        operation = p.get("operation", "show")
        more = 1.3 * (cls._count(p) - 1) if operation == "add" else 0.55 * p.get("n", 3) if operation == "power" else 0
        return 3.9 + 1.4 * cls._count(p) * (operation != "map") + _SECONDS[operation] + more

    @staticmethod
    def _count(p: dict[str, Any]) -> int:
        most = {"multiply": 2, "conjugate": 1, "power": 1, "roots": 1}.get(p.get("operation", "show"), 4)
        return min(most, len(p.get("numbers") or [1]))

    def heading(self) -> str:
        n = self.p.get("n", 3)
        return {
            "add": "Adding complex numbers", "multiply": "Multiplying is turning and stretching", "conjugate": "The conjugate",
            "power": "Powers of a complex number", "roots": f"The {n} roots of order {n}", "map": "A map of the complex plane",
        }.get(self.p.get("operation", "show"), "The complex plane")  # fmt: skip

    def story(self) -> None:
        p, theme = self.p, self.theme
        self.operation = p.get("operation", "show")
        given = (p.get("numbers") or [{"ast": ["+", 1, "i"], "latex": "1 + i"}])[: self._count(p)]
        self.latex = [each["latex"] for each in given]
        values = [complex(np.asarray(kit.complex_value(each["ast"])).item()) for each in given]
        self.defined = [cmath.isfinite(each) for each in values]
        self.z = [each if ok else 0j for each, ok in zip(values, self.defined, strict=True)]
        figure, words = self.figure_and_words(0.62, 0.76)
        self.plot = kit.Plot(theme, figure, *self._window(figure), equal=True, names=("Re", "Im"))
        shares = [1] * 4 if self.operation == "show" else [1.8 if len(self.z) > 2 else 1, 1, 1]
        self.lines = (words if self.stage.tall else words.inset(0, 0.3)).rows(*shares, gap=0.12)
        self.play(FadeIn(self.plot), caption="Real part across, imaginary part up", run_time=0.9)
        if self.operation == "map":
            self._map()
            return
        self.arrows = []
        for i, z in enumerate(self.z):
            colour = self._colour(i)
            arrow = self._arrow(0, z, colour)
            self.arrows.append(arrow)
            written = self.latex[i] if self.defined[i] else rf"{self.latex[i]} \;\text{{ is not defined}}"
            label = kit.fit(self.tex(rf"{_NAMES[i]} = {written}", color=colour), self._name_box(i))
            more = [FadeIn(self._legs(z))] if i == 0 and self.operation == "show" else []
            self.play(FadeIn(arrow), FadeIn(label), FadeIn(self._tag(z, i)), *more, run_time=0.8)
            self.wait(0.6)
        getattr(self, f"_{self.operation}")()

    def _name_box(self, i: int) -> kit.Box:
        """Two numbers share a line where only half of the lines are free."""
        if self.operation == "show":
            return self.lines[i]
        rows = self.lines[0].rows(*[1] * (-(-len(self.z) // 2)), gap=0.08)
        return [cell for row in rows for cell in row.columns(*[1] * min(2, len(self.z)), gap=0.3)][i]

    def _colour(self, i: int) -> str:
        return [self.theme.blue, self.theme.amber, self.theme.violet, self.theme.teal][i]

    def _result(self) -> list[complex]:
        z, n = self.z, int(self.p.get("n", 3))
        match self.operation:
            case "add":
                return [sum(z[: k + 1]) for k in range(len(z))]
            case "multiply":
                return [z[0] * (z[1] if len(z) > 1 else z[0])]
            case "conjugate":
                return [z[0].conjugate()]
            case "power":
                return [z[0] ** k for k in range(1, n + 1)]
            case "roots":
                size, turn = abs(z[0]) ** (1 / n), cmath.phase(z[0]) / n
                return [cmath.rect(size, turn + 2 * math.pi * k / n) for k in range(n)]
        return []

    def _window(self, figure: kit.Box) -> tuple[tuple[float, float], tuple[float, float]]:
        """What holds all arrows, on all their ways, with air around them; in the shape of the figure."""
        if self.operation == "map":
            points = [-3 - 3j, 3 + 3j]
        else:
            points = [0j, *self.z, *self._result()]
            least = 1.0 if max(map(abs, points)) > 0.4 else 0.4
            points += [least * turn for turn in (1, 1j, -1, -1j)]
        if self.operation == "multiply":
            turn = cmath.phase(self.z[-1]) if self.z[-1] else 0.0
            points += [self.z[0] * cmath.rect(1, turn * k / 24) for k in range(25)]
        if self.operation == "roots":
            points += [abs(self._result()[0]) * turn for turn in (1, 1j, -1, -1j)]
        air = 1.0 if self.operation == "map" else 1.2
        ends = [(min(part), max(part)) for part in ([z.real for z in points], [z.imag for z in points])]
        # Plot keeps a rim for numbers and names.
        room = (figure.width - 0.85, figure.height - 0.75)
        unit = max(air * (high - low) / side for (low, high), side in zip(ends, room, strict=True))
        return tuple(((low + high - unit * side) / 2, (low + high + unit * side) / 2) for (low, high), side in zip(ends, room, strict=True))

    def _point(self, z: complex) -> np.ndarray:
        return self.plot.c2p(z.real, z.imag)

    def _arrow(self, start: complex, end: complex, colour: str, width: float = 6) -> VGroup:
        return kit.arrow(self._point(complex(start)), self._point(complex(end)), colour, width)

    def _tag(self, z: complex, i: int) -> VGroup:
        label = kit.halo(self.tex(_NAMES[i], color=self._colour(i)), self.theme.background)
        way = z / abs(z) if abs(z) > 1e-12 else 1 + 0j
        room = self.plot.room.inset(0.15)
        return kit.keep_in(label.move_to(self._point(z) + 0.34 * np.array([way.real, way.imag, 0])), room)

    def _legs(self, z: complex) -> VGroup:
        foot = self._point(complex(z.real, 0))
        if abs(z.imag) < 1e-9 or abs(z.real) < 1e-9:
            return VGroup()
        return VGroup(DashedLine(self._point(z), foot, color=self.theme.muted, stroke_width=2.5))

    def _say_line(self, index: int, latex: str, colour: str, caption: str | None, *more: Any) -> None:
        written = kit.fit(self.tex(latex, size="heading", color=colour), self.lines[index])
        self.play(FadeIn(written), *more, caption=caption, run_time=1.0)

    @staticmethod
    def _write(z: complex) -> str:
        real, imag = (0.0 if abs(v) < 1e-10 * max(1.0, abs(z)) else v for v in (z.real, z.imag))
        if imag == 0:
            return kit.tex_num(real, 4)
        unit = "i" if abs(abs(imag) - 1) < 1e-12 else rf"{kit.tex_num(abs(imag), 4)}\,i"
        if real == 0:
            return ("-" if imag < 0 else "") + unit
        return f"{kit.tex_num(real, 4)} {'-' if imag < 0 else '+'} {unit}"

    @staticmethod
    def _polar(z: complex) -> str:
        return (
            rf"{kit.tex_num(abs(z), 4)}\;\angle\;{kit.tex_num(math.degrees(cmath.phase(z)), 4)}^\circ"
            if abs(z)
            else "0"
        )

    def _show(self) -> None:
        z = self.z[0]
        self.say(
            f"Its distance from the origin is {kit.num(abs(z))}, its angle {kit.num(math.degrees(cmath.phase(z)))}°"
        )
        self.wait(0.5)

    def _add(self) -> None:
        total = self.z[0]
        for i, z in enumerate(self.z[1:], start=1):
            self.play(
                self.arrows[i].copy().animate.become(self._arrow(total, total + z, self._colour(i))),
                self.arrows[i].animate.set_opacity(0.25), caption="Put one arrow at the tip of the other" if i == 1 else None, run_time=1.3,
            )  # fmt: skip
            total += z
        self._say_line(
            1,
            self._write(total),
            self.theme.green,
            "Real parts add, imaginary parts add",
            FadeIn(self._arrow(0, total, self.theme.green, 8)),
        )
        self.wait(1.2)

    def _multiply(self) -> None:
        z, w = self.z[0], self.z[1] if len(self.z) > 1 else self.z[0]
        theme = self.theme
        turn, stretch = cmath.phase(w) if w else 0.0, abs(w)
        self._say_line(
            1,
            rf"w = {self._polar(w)}",
            theme.amber,
            f"w stands for: turn by {kit.num(math.degrees(turn), 4)}°, stretch by {kit.num(stretch, 4)}",
        )
        self.wait(1.7)
        t = ValueTracker(0.0)
        moving = always_redraw(lambda: self._arrow(0, z * cmath.rect(1, turn * t.get_value()), theme.green, 7))
        self.add(moving)
        self.play(t.animate(rate_func=rate_functions.ease_in_out_sine).set_value(1.0), caption="Turn z …", run_time=1.3)
        s = ValueTracker(1.0)
        moving.clear_updaters()
        self.remove(moving)
        moving = always_redraw(lambda: self._arrow(0, z * cmath.rect(s.get_value(), turn), theme.green, 8))
        self.add(moving)
        self.play(
            s.animate(rate_func=rate_functions.ease_in_out_sine).set_value(stretch),
            caption="… and stretch it",
            run_time=1.1,
        )
        moving.clear_updaters()
        self._say_line(2, rf"z \cdot w = {self._write(z * w)}", theme.green, "That is the product")
        self.wait(0.8)

    def _conjugate(self) -> None:
        z = self.z[0].conjugate()
        mirrored = self.arrows[0].copy()
        self.play(
            mirrored.animate.become(self._arrow(0, z, self.theme.green)),
            caption="Mirrored at the real axis",
            run_time=1.3,
        )
        self._say_line(1, rf"\bar{{z}} = {self._write(z)}", self.theme.green, None)

    def _power(self) -> None:
        before, points = self.arrows[0], self._result()
        n = len(points)
        for k, z in enumerate(points[1:], start=2):
            arrow = self._arrow(0, z, self.theme.green if k == n else self.theme.violet, 5)
            shape = Polygon(
                self.plot.c2p(0, 0),
                self._point(points[k - 2]),
                self._point(z),
                stroke_width=0,
                fill_color=self.theme.colour(k),
                fill_opacity=0.25,
            )
            self.play(
                before.copy().animate.become(arrow),
                FadeIn(shape),
                caption="Each power turns on by the same angle" if k == 2 else None,
                run_time=0.55 if n > 3 else 0.9,
            )
            before = arrow
        self._say_line(1, rf"z^{{{n}}} = {self._write(points[-1])}", self.theme.green, None)
        self.wait(0.9)

    def _roots(self) -> None:
        roots, theme, n = self._result(), self.theme, int(self.p.get("n", 3))
        circle = Circle(abs(roots[0]) * self.plot.unit()[0] or 0.01, color=theme.muted, stroke_width=2.5).move_to(
            self.plot.c2p(0, 0)
        )
        self.play(Create(circle), caption=f"Numbers whose power of order {n} is z lie on one circle", run_time=1.0)
        dots = VGroup(*(self._arrow(0, each, theme.green, 4) for each in roots))
        self.play(*(FadeIn(each) for each in dots), caption=f"{n} of them, {kit.num(360 / n, 4)}° apart", run_time=1.0)
        shape = (
            Polygon(
                *(self._point(each) for each in roots),
                color=theme.green,
                stroke_width=2.5,
                fill_color=theme.green,
                fill_opacity=0.12,
            )
            if n > 2
            else VGroup()
        )
        self._say_line(1, rf"{self._write(roots[0])},\; \ldots", theme.green, None, FadeIn(shape))
        self.wait(1.2)

    def _map(self) -> None:
        given = self.p.get("map") or {"ast": ["^", "z", 2], "latex": "z^2"}
        theme, plot = self.theme, self.plot
        t = np.linspace(-3, 3, 121)
        lines = [(a + 1j * t, theme.blue) for a in np.arange(-3, 3.1, 0.5)] + [
            (t + 1j * a, theme.amber) for a in np.arange(-3, 3.1, 0.5)
        ]
        moved = [
            (np.asarray(kit.complex_value(given["ast"], {"z": line})) + 0 * line, line, colour)
            for line, colour in lines
        ]
        at = ValueTracker(0.0)

        def draw() -> VGroup:
            s, drawn = at.get_value(), VGroup()
            for goal, line, colour in moved:
                w = (1 - s) * line + s * np.where(np.isfinite(goal), goal, np.nan)
                inside = np.isfinite(w) & (np.abs(w.real) <= plot.x_range[1]) & (np.abs(w.imag) <= plot.y_range[1])
                for run in np.split(np.arange(len(w)), np.flatnonzero(np.diff(inside.astype(int))) + 1):
                    if len(run) > 1 and inside[run[0]]:
                        path = VMobject(stroke_color=colour, stroke_width=2.2)
                        drawn.add(path.set_points_as_corners(plot.c2p(w[run].real, w[run].imag)))
            return drawn

        grid = always_redraw(draw)
        self._say_line(
            0, rf"f(z) = {given['latex']}", theme.green, "Lines of constant real and imaginary part", FadeIn(grid)
        )
        self.wait(0.8)
        self.play(
            at.animate(rate_func=rate_functions.ease_in_out_cubic).set_value(1.0),
            caption="Each point z goes to f(z)",
            run_time=3.2,
        )
        grid.clear_updaters()
