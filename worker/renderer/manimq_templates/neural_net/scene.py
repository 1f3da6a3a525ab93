"""Neural network: layers appear, edges join them, and a forward pass lights them up one after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from manim import Circle, FadeIn, LaggedStart, Line, VGroup

from .. import kit

_SHOWN_MAX = 8
_ACTIVATIONS = {
    "relu": ("ReLU: negative sums become 0", lambda x: np.maximum(x, 0)),
    "sigmoid": ("Sigmoid: every sum becomes a number from 0 to 1", lambda x: 1 / (1 + np.exp(-x))),
    "tanh": ("tanh: every sum becomes a number from −1 to 1", np.tanh),
    "linear": ("Linear: the sum itself", lambda x: x),
}


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        layers = p.get("layers") or [3, 4, 2]
        return (
            6.8
            + 0.6 * len(layers)
            + (1.5 * len(layers) + sum(cls._pauses(p)) if p.get("forward", True) else 0)
            + 2.2 * bool(p.get("highlight"))
        )

    @staticmethod
    def _captions_of(p: dict[str, Any]) -> list[str | None]:
        """What is said of each layer as values go through."""
        note, _ = _ACTIVATIONS[p.get("activation", "relu")]
        between = len(p.get("layers") or [3, 4, 2]) - 2
        said = ["Values come in", f"They are weighted and added up. {note}", *[None] * between]
        return [*said[:-1], "And what comes out is the answer"] if between > 0 else said

    @classmethod
    def _pauses(cls, p: dict[str, Any]) -> list[float]:
        """After each layer, what its caption needs longer than until the next one."""
        said = cls._captions_of(p)
        pauses = [0.0] * len(said)
        for i, each in enumerate(said[1:], start=1):
            if each:
                until = next((k for k in range(i + 1, len(said)) if said[k]), len(said))
                pauses[i] = round(max(0.0, kit.read_s(each) - 1.5 * (until - i)), 1)
        return pauses

    def heading(self) -> str:
        return "A neural network"

    def story(self) -> None:
        theme, p = self.theme, self.p
        counts = p.get("layers") or [3, 4, 2]
        rows_box = self.stage.inset(0.3, 0.1)
        names_box, box = rows_box.rows(0.75, rows_box.height - 0.75, gap=0.1)
        self.layers = self._place(counts, box)
        names = VGroup()
        for i, (count, layer) in enumerate(zip(counts, self.layers, strict=True)):
            kind = "input" if i == 0 else "output" if i == len(counts) - 1 else "hidden"
            width = box.width / len(counts) * 0.8
            label = self.text(f"{kind}", "small", color=theme.muted, width=width, lines_max=1)
            number = self.text(f"{count}", "small", weight="SEMIBOLD", width=width, lines_max=1)
            names.add(VGroup(label, number).arrange([0, -1, 0], buff=0.1).move_to([layer[0].get_x(), 0, 0]))
        for k in range(2):
            kit.even([each[k] for each in names])
        # Near the layers: in a tall frame they do not reach up to the title.
        names.set_y(min(names_box.y, max(each.get_top()[1] for each in self.layers) + 0.3 + names.height / 2))
        weights = self._weights()
        edges = [self._edges(i, weights[i]) for i in range(len(counts) - 1)]
        self.play(
            LaggedStart(
                *(FadeIn(VGroup(layer, name)) for layer, name in zip(self.layers, names, strict=True)), lag_ratio=0.4
            ),
            caption="Neurons in layers",
            run_time=0.6 * len(counts) + 0.4,
        )
        for each in edges:
            each.set_z_index(-1)
        self.play(
            *(FadeIn(each) for each in edges),
            caption="Each is joined to all of the next layer; colour and width are the weight",
            run_time=1.0,
        )
        self.wait(2.7)
        if p.get("forward", True):
            self._forward(weights, edges)
        if p.get("highlight"):
            self._highlight(p["highlight"], edges)

    def _place(self, counts: list[int], box: kit.Box) -> list[VGroup]:
        """At most eight neurons of a layer are drawn, and dots for the rest."""
        theme = self.theme
        most = max(min(count, _SHOWN_MAX + 1) for count in counts)
        step = min(1.7 if box.tall else 1.05, box.height / most)
        across = box.width / len(counts)
        radius = min(0.45 if box.tall else 0.34, 0.4 * step, 0.26 * across)
        layers = []
        self.neurons: list[list[Circle]] = []
        for i, count in enumerate(counts):
            shown = min(count, _SHOWN_MAX)
            slots = shown + (1 if count > shown else 0)
            x, top = box.left + across * (i + 0.5), box.y + step * (slots - 1) / 2
            layer, circles = VGroup(), []
            row = 0
            for k in range(shown):
                if count > shown and k == shown // 2:
                    dots = VGroup(
                        *(
                            Circle(0.035, stroke_width=0, fill_color=theme.muted, fill_opacity=1).move_to(
                                [x, top - row * step + d, 0]
                            )
                            for d in (-0.13, 0, 0.13)
                        )
                    )
                    layer.add(dots)
                    row += 1
                circle = Circle(
                    radius, color=theme.blue, stroke_width=3, fill_color=theme.panel, fill_opacity=1
                ).move_to([x, top - row * step, 0])
                circles.append(circle)
                layer.add(circle)
                row += 1
            self.neurons.append(circles)
            layers.append(layer)
        return layers

    def _weights(self) -> list[np.ndarray]:
        return [
            self.numbers.normal(0, 1.3 / math.sqrt(len(before)), (len(after), len(before)))
            for before, after in zip(self.neurons, self.neurons[1:], strict=False)
        ]

    def _edges(self, i: int, weights: np.ndarray) -> VGroup:
        theme, edges = self.theme, VGroup()
        most = float(np.abs(weights).max()) or 1.0
        for j, after in enumerate(self.neurons[i + 1]):
            for k, before in enumerate(self.neurons[i]):
                size = abs(float(weights[j, k])) / most
                colour = theme.green if weights[j, k] > 0 else theme.red
                edge = Line(before.get_center(), after.get_center(), color=colour, stroke_width=0.8 + 2.6 * size)
                edges.add(edge.set_opacity(0.25 + 0.45 * size))
        return edges

    def _forward(self, weights: list[np.ndarray], edges: list[VGroup]) -> None:
        theme = self.theme
        _, function = _ACTIVATIONS[self.p.get("activation", "relu")]
        captions, pauses = self._captions_of(self.p), self._pauses(self.p)
        values = self.numbers.uniform(0.2, 1.0, len(self.neurons[0]))
        for i in range(len(self.neurons)):
            if i:
                values = function(weights[i - 1] @ values)
            most = float(np.abs(values).max()) or 1.0
            lit = [
                circle.animate.set_fill(
                    theme.wash(theme.amber, 0.12 + 0.85 * min(1.0, abs(float(v)) / most))
                ).set_stroke(theme.amber)
                for circle, v in zip(self.neurons[i], values, strict=True)
            ]
            flow = [edges[i - 1].animate.set_opacity(0.95)] if i else []
            caption = captions[i]
            if flow:
                self.play(*flow, caption=caption, run_time=0.5)
                caption = None
            self.play(*lit, caption=caption, run_time=0.5)
            if flow:
                edges[i - 1].set_opacity(0.4)
            self.wait(0.5 + pauses[i])

    def _highlight(self, which: list[int], edges: list[VGroup]) -> None:
        theme = self.theme
        layer = min(which[0], len(self.neurons)) - 1
        neuron = min(which[1], len(self.neurons[layer])) - 1
        circle = self.neurons[layer][neuron]
        dim = [each.animate.set_opacity(0.08) for i, each in enumerate(edges) if i != layer - 1]
        mine = []
        if layer > 0:
            before = len(self.neurons[layer - 1])
            for index, edge in enumerate(edges[layer - 1]):
                mine.append(edge.animate.set_opacity(0.95 if index // before == neuron else 0.08))
        caption = (
            f"This one hears all {len(self.neurons[layer - 1])} before it"
            if layer
            else "This one is an input: nothing comes before it"
        )
        self.play(*dim, *mine, circle.animate.set_stroke(theme.violet, width=7), caption=caption, run_time=0.8)
        self.wait(1.4)
