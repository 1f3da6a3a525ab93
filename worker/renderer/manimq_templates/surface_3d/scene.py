"""Surface: patches sorted from back to front, turned a little further in each picture.

Drawn with our own projection: the flat camera of all templates then does, titles
stay in front of everything, and a sequence may hold it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import FadeIn, Line, ManimColor, ValueTracker, VGroup, VMobject, linear

from .. import kit

_CELLS = 20


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 12.3 + 3.7 * bool(p.get("slices"))

    def heading(self) -> str:
        return "A surface in space"

    def story(self) -> None:
        theme, p = self.theme, self.p
        f = kit.Formula(p["z"], ("x", "y"))
        self.x, self.y = (self._ends(p.get(name) or (-3, 3)) for name in ("x_range", "y_range"))
        camera = p.get("camera") or {}
        self.elevation = math.radians(camera.get("elevation", 28))
        azimuth, turn = math.radians(camera.get("azimuth", -50)), math.radians(camera.get("turn", 120))
        key, self.box = self.stage.rows(0.75, self.stage.height - 0.75, gap=0.1)
        name = kit.fit(self.tex(rf"z = {f.latex}", color=theme.blue), key)
        self._compute(f)
        self.azimuth = ValueTracker(azimuth)
        self.rise = ValueTracker(0.02)
        self.patches = self._patches()
        self.frame = self._frame()
        scene = VGroup(self.frame, self.patches)
        self._turned(scene)
        self.play(FadeIn(name), FadeIn(scene), caption="Over each point of the plane …", run_time=1.0)
        self.wait(0.8)
        scene.add_updater(self._turned)
        self.play(self.rise.animate.set_value(1.0), caption="… a height: together they are a surface", run_time=2.3)
        self.play(
            self.azimuth.animate(rate_func=linear).increment_value(turn * 0.999),
            caption=self._range_text(),
            run_time=5.2,
        )
        scene.clear_updaters()
        if p.get("slices"):
            self._slices(f)

    @staticmethod
    def _ends(given: Any) -> tuple[float, float]:
        low, high = sorted(kit.value(each) for each in given)
        return (low, high) if high - low > 1e-9 * max(1.0, abs(high)) else (low - 1, high + 1)

    def _compute(self, f: kit.Formula) -> None:
        self.u = np.linspace(-1, 1, _CELLS + 1)
        x = self.x[0] + (self.u + 1) / 2 * (self.x[1] - self.x[0])
        y = self.y[0] + (self.u + 1) / 2 * (self.y[1] - self.y[0])
        z = f(*np.meshgrid(x, y, indexing="ij"))
        there = z[np.isfinite(z)]
        if len(there):
            low, high = np.percentile(there, [2, 98]) if len(there) > 20 else (there.min(), there.max())
            inner = high - low
            low, high = max(there.min(), low - inner), min(there.max(), high + inner)
        else:
            low, high = -1.0, 1.0
        if high - low < 1e-9 * max(1.0, abs(high)):
            low, high = low - 1, high + 1
        self.z_range = (float(low), float(high))
        # Heights from −0.6 to 0.6 of the half width; NaN where there is none.
        self.z = np.where(np.isfinite(z), (np.clip(z, low, high) - low) / (high - low) * 1.2 - 0.6, np.nan)

    def _range_text(self) -> str:
        return f"Heights from {kit.num(self.z_range[0], 3)} to {kit.num(self.z_range[1], 3)}"

    # -------------------------------------------------------------------- projection

    def _project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the frame, and how far away each is."""
        a, e = self.azimuth.get_value(), self.elevation
        x, y, z = points[..., 0], points[..., 1], points[..., 2] * self.rise.get_value()
        across = -x * math.sin(a) + y * math.cos(a)
        depth = x * math.cos(a) + y * math.sin(a)
        up = z * math.cos(e) - depth * math.sin(e)
        # As large as the box allows at any angle: the base has the diagonal √2.
        scale = min(
            self.box.width / 2.9, self.box.height / (2 * (math.sqrt(2) * math.sin(e) + 0.62 * math.cos(e)) + 0.1)
        )
        flat = np.stack([self.box.x + across * scale, self.box.y + up * scale, np.zeros_like(up)], axis=-1)
        return flat, -(depth * math.cos(e) + z * math.sin(e))

    def _patches(self) -> VGroup:
        theme = self.theme
        u, z = self.u, self.z
        quads, colours = [], []
        low, middle, high = (ManimColor(c) for c in (theme.blue, theme.teal, theme.amber))
        for i in range(_CELLS):
            for j in range(_CELLS):
                corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                heights = [z[c] for c in corners]
                if not np.isfinite(heights).all():
                    continue
                quads.append([(u[a], u[b], z[a, b]) for a, b in corners])
                share = (float(np.mean(heights)) + 0.6) / 1.2
                colours.append(
                    (
                        low.interpolate(middle, 2 * share) if share < 0.5 else middle.interpolate(high, 2 * share - 1)
                    ).to_hex()
                )
        self.quads = np.array(quads).reshape(-1, 4, 3)
        self.closed = np.concatenate([self.quads, self.quads[:, :1]], axis=1) if len(quads) else self.quads
        made = VGroup()
        for colour in colours:
            made.add(
                VMobject(stroke_color=theme.wash(colour, 0.45), stroke_width=0.9, fill_color=colour, fill_opacity=0.93)
            )
        self.all_patches = list(made)
        return made

    def _frame(self) -> VGroup:
        """The base's edges and the directions x and y."""
        theme, drawn = self.theme, VGroup()
        base = -0.62
        corners = [(-1, -1, base), (1, -1, base), (1, 1, base), (-1, 1, base)]
        self.edges = [(corners[k], corners[(k + 1) % 4]) for k in range(4)]
        for _ in self.edges:
            drawn.add(Line([0, 0, 0], [1, 0, 0], color=theme.muted, stroke_width=2))
        self.name_places = [(0.0, -1.22, base), (1.22, 0.0, base)]
        for name in ("x", "y"):
            drawn.add(self.text(name, "small", color=theme.muted, slant="ITALIC", lines_max=1))
        return drawn

    def _turned(self, scene: VGroup) -> None:
        frame, patches = scene
        for line, ends in zip(frame[:4], self.edges, strict=True):
            flat, _ = self._project(np.array(ends, dtype=float))
            line.set_points_as_corners(flat)
        for label, place in zip(frame[4:], self.name_places, strict=True):
            label.move_to(self._project(np.array(place))[0])
            kit.keep_in(label, self.stage)
        if not len(self.quads):
            return
        flat, _ = self._project(self.closed)
        _, far = self._project(self.quads.mean(axis=1))
        for patch, points in zip(self.all_patches, flat, strict=True):
            patch.set_points_as_corners(points)
        patches.submobjects = [self.all_patches[k] for k in np.argsort(-far)]

    # ------------------------------------------------------------------------ slices

    def _slices(self, f: kit.Formula) -> None:
        theme = self.theme
        t = np.linspace(-1, 1, 81)
        x = self.x[0] + (t + 1) / 2 * (self.x[1] - self.x[0])
        low, high = self.z_range
        at = ValueTracker(-1.0)

        def cut(group: VGroup) -> None:
            v = at.get_value()
            y = self.y[0] + (v + 1) / 2 * (self.y[1] - self.y[0])
            z = f(x, np.full_like(x, y))
            inside = np.isfinite(z) & (z >= low - 1e-9) & (z <= high + 1e-9)
            heights = (z - low) / (high - low) * 1.2 - 0.6
            group.submobjects = []
            for run in np.split(np.arange(len(t)), np.flatnonzero(np.diff(inside.astype(int))) + 1):
                if len(run) > 1 and inside[run[0]]:
                    points = np.stack([t[run], np.full(len(run), v), heights[run]], axis=-1)
                    path = VMobject(stroke_color=theme.red, stroke_width=6)
                    group.add(path.set_points_as_corners(self._project(points)[0]))

        line = VGroup()
        cut(line)
        self.patches.set_opacity(0.45)
        line.add_updater(cut)
        self.add(line)
        self.play(
            at.animate(rate_func=linear).set_value(1.0),
            caption="A cut moves through it, parallel to the x axis",
            run_time=3.6,
        )
        line.clear_updaters()
