"""Comparison: two cards, point against point, and the verdict below."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np
from manim import DOWN, UP, FadeIn, VGroup

from .. import kit

_SIZES = (34, 30, 26, 23, 20, 17, 15)


class Template(kit.TemplateScene):
    has_captions = False

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        return 4.3 + sum(cls._each(pair) for pair in cls._pairs(p)) + cls._verdict_s(p)

    @staticmethod
    def _verdict_s(p: dict[str, Any]) -> float:
        return 1.0 + max(0.0, kit.read_s(p["verdict"]) - 3.0) if p.get("verdict") else 0.0

    @staticmethod
    def _pairs(p: dict[str, Any]) -> list[tuple[str, str]]:
        return list(zip_longest(p["left"]["items"], p["right"]["items"], fillvalue=""))

    @staticmethod
    def _each(pair: tuple[str, str]) -> float:
        return round(1.2 + min(2.4, 0.016 * len(pair[0] + pair[1])), 1)

    def heading(self) -> str:
        return f"{self.p['left']['title']} or {self.p['right']['title']}?" if self.p["left"]["title"] else "Comparison"

    def story(self) -> None:
        theme, p = self.theme, self.p
        box = self.stage
        verdict = None
        if p.get("verdict"):
            box, below = box.rows(box.height - 1.1, 1.1, gap=0.25)
            words = self.text(
                p["verdict"], "body", weight="MEDIUM", width=below.width - 0.6, height=below.height - 0.3, lines_max=3
            )
            verdict = VGroup(self.panel(below, theme.wash(theme.green)), words.move_to(below.center))
        cards = box.rows(1, 1, gap=0.3) if box.tall else box.columns(1, 1, gap=0.4)
        # As large as all of them fit, one size for both cards.
        bodies = [self._body(card) for card in cards]
        sizes = [
            kit.list_size(theme, p[side]["items"], _SIZES, width=body.width, height=body.height, gap=0.16, lines_max=6)
            for side, body in zip(("left", "right"), bodies, strict=True)
        ]
        size, tall = (min(each) for each in zip(*sizes, strict=True))
        rows = [
            [self.text(each, size, width=body.width, height=tall, lines_max=6) for each in p[side]["items"]]
            for side, body in zip(("left", "right"), bodies, strict=True)
        ]
        kit.even([*rows[0], *rows[1]])
        columns = [
            self._card(p[side]["title"], own, card, colour)
            for side, own, card, colour in zip(("left", "right"), rows, cards, (theme.blue, theme.amber), strict=True)
        ]
        kit.even([head[1] for head, _ in columns])
        for (head, _), shift in zip(columns, (UP, DOWN) if box.tall else ([-1, 0, 0], [1, 0, 0]), strict=True):
            self.play(FadeIn(head, shift=-0.3 * np.asarray(shift, dtype=float)), run_time=0.6)
        self.wait(0.3)
        for index, pair in enumerate(self._pairs(p)):
            fresh = [rows[index] for _, rows in columns if index < len(rows)]
            self.play(*(FadeIn(each, shift=0.15 * UP) for each in fresh), run_time=0.6)
            self.wait(self._each(pair) - 0.6)
        if verdict is not None:
            self.play(FadeIn(verdict, shift=0.2 * UP), run_time=0.8)

    @staticmethod
    def _body(card: kit.Box) -> kit.Box:
        """Where a card's rows stand, under its title."""
        inner = card.inset(0.3, 0.22)
        return inner.rows(0.62, max(0.4, inner.height - 0.8), gap=0.18)[1]

    def _card(
        self, title: str, rows: list[kit.Lines], box: kit.Box, colour: str
    ) -> tuple[VGroup, list[kit.Lines]]:
        back = self.panel(box)
        inner, body = box.inset(0.3, 0.22), self._body(box)
        head_box = inner.rows(0.62, max(0.4, inner.height - 0.8), gap=0.18)[0]
        head = self.text(
            title,
            "heading",
            color=colour,
            weight="BOLD",
            width=head_box.width,
            height=head_box.height,
            lines_max=2,
        )
        head.move_to(head_box.center)
        line = self.rule([inner.left, head_box.bottom - 0.06, 0], [inner.right, head_box.bottom - 0.06, 0], colour)
        column = VGroup(*rows)
        spare = body.height - sum(each.height for each in rows)
        column.arrange(DOWN, buff=min(0.5, max(0.08, spare / (len(rows) + 1))))
        kit.fit(column, body)
        return VGroup(back, head, line), rows
