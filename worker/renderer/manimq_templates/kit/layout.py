"""Boxes, and how things are put into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from manim import Mobject, VMobject, config

M = TypeVar("M", bound=Mobject)


@dataclass(frozen=True)
class Box:
    """A rectangle of the frame, in its units."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def top(self) -> float:
        return self.bottom + self.height

    @property
    def x(self) -> float:
        return self.left + self.width / 2

    @property
    def y(self) -> float:
        return self.bottom + self.height / 2

    @property
    def center(self) -> np.ndarray:
        return np.array([self.x, self.y, 0.0])

    @property
    def tall(self) -> bool:
        """Taller than wide: stack things, where a wide box has them side by side."""
        return self.height > 1.15 * self.width

    def at(self, across: float, up: float) -> np.ndarray:
        """A point by fractions: (0, 0) is the lower left corner, (1, 1) the upper right."""
        return np.array([self.left + across * self.width, self.bottom + up * self.height, 0.0])

    def inset(self, x: float, y: float | None = None) -> Box:
        """Smaller by that much on each side."""
        y = x if y is None else y
        return Box(self.left + x, self.bottom + y, max(0.1, self.width - 2 * x), max(0.1, self.height - 2 * y))

    def rows(self, *shares: float, gap: float = 0.25) -> list[Box]:
        """Cut from the top down, in these shares."""
        unit = (self.height - gap * (len(shares) - 1)) / sum(shares)
        boxes, top = [], self.top
        for share in shares:
            boxes.append(Box(self.left, top - share * unit, self.width, share * unit))
            top -= share * unit + gap
        return boxes

    def columns(self, *shares: float, gap: float = 0.4) -> list[Box]:
        """Cut from left to right, in these shares."""
        unit = (self.width - gap * (len(shares) - 1)) / sum(shares)
        boxes, left = [], self.left
        for share in shares:
            boxes.append(Box(left, self.bottom, share * unit, self.height))
            left += share * unit + gap
        return boxes

    def split(self, first: float, second: float, gap: float = 0.4) -> tuple[Box, Box]:
        """Side by side in a wide box, one above the other in a tall one."""
        one, two = self.rows(first, second, gap=gap) if self.tall else self.columns(first, second, gap=gap)
        return one, two

    def square(self) -> Box:
        """The largest square in the middle."""
        side = min(self.width, self.height)
        return Box(self.x - side / 2, self.y - side / 2, side, side)


def set_frame() -> None:
    """Make the frame as wide as the picture is, its short side 8 units: sizes look alike in all aspects."""
    ratio = config.pixel_width / config.pixel_height
    config.frame_height = 8.0 if ratio >= 1 else 8.0 / ratio
    config.frame_width = config.frame_height * ratio


def frame_box(margin: float = 0.45) -> Box:
    """The safe area: the frame without its margin."""
    return Box(-config.frame_width / 2, -config.frame_height / 2, config.frame_width, config.frame_height).inset(margin)


def fit(mobject: M, box: Box, *, grow: float = 1.0, at: tuple[float, float] | None = (0.5, 0.5)) -> M:
    """Shrink until it is inside (or grow, at most by ``grow``), then put it there.

    ``at`` says where in the room that is left over: (0.5, 0.5) the middle, (0, 1) the upper left.
    """
    width, height = mobject.width, mobject.height
    scale = min(grow, box.width / width if width > 1e-6 else grow, box.height / height if height > 1e-6 else grow)
    if abs(scale - 1) > 1e-3:
        mobject.scale(scale)
    if at is not None:
        left = box.left + at[0] * (box.width - mobject.width)
        bottom = box.bottom + at[1] * (box.height - mobject.height)
        mobject.move_to([left + mobject.width / 2, bottom + mobject.height / 2, 0])
    return mobject


def halo(mobject: M, colour: str, width: float = 7) -> M:
    """A rim in the background's colour, so that a label reads on top of lines."""
    for each in mobject.family_members_with_points():
        if isinstance(each, VMobject):
            each.set_stroke(colour, width=width, background=True)
    return mobject


def even(mobjects: Sequence[Mobject], box: Box | None = None) -> None:
    """All of them as small as the one that had to shrink most, so that equals look equal.

    With ``box``, each shrinks to that size first; where they stand is kept.
    """
    if not mobjects:
        return
    if box is not None:
        wide, tall = max(each.width for each in mobjects), max(each.height for each in mobjects)
        scale = min(1.0, box.width / max(wide, 1e-6), box.height / max(tall, 1e-6))
        for each in mobjects:
            each.scale(scale)
        return
    least = min(getattr(each, "shrunk", 1.0) for each in mobjects)
    for each in mobjects:
        each.scale(least / getattr(each, "shrunk", 1.0))
        each.shrunk = least


def keep_in(mobject: M, box: Box) -> M:
    """Move it the least that brings it inside."""
    dx = max(box.left - mobject.get_left()[0], 0) or min(box.right - mobject.get_right()[0], 0)
    dy = max(box.bottom - mobject.get_bottom()[1], 0) or min(box.top - mobject.get_top()[1], 0)
    return mobject.shift([dx, dy, 0])
