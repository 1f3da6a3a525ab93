"""The ways of arrows: straight where nothing stands between two boxes, in a bow around what does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BENDS = (0.6, 1.0, 1.4, 1.9, 2.4)
"""Angles of bows in radians, the flattest first."""
_CLEAR = 0.05
"""Room that a way leaves around a box, in units of the frame."""
_POINTS = 49


class Rect(NamedTuple):
    """What a box or a label takes up."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def of(cls, mobject: object) -> Rect:
        """Around a mobject."""
        return cls(mobject.get_left()[0], mobject.get_bottom()[1], mobject.get_right()[0], mobject.get_top()[1])

    def meets(self, other: Rect) -> bool:
        """Whether they have more than an edge in common."""
        return self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top


class Route(NamedTuple):
    """From the edge of one box to that of another."""

    points: np.ndarray
    bend: float
    """The arc's angle as Manim takes it, counterclockwise; 0 for a straight line."""
    side: np.ndarray
    """Where a bow leads to; no direction for a straight line."""


def straight(first: np.ndarray, last: np.ndarray) -> Route:
    """A line."""
    return Route(np.linspace(first, last, _POINTS), 0.0, np.zeros(3))


def bow(first: np.ndarray, last: np.ndarray, side: np.ndarray, angle: float) -> Route:
    """An arc of that angle (0 < angle < π) which bulges to the side."""
    way = last - first
    left = np.array([-way[1], way[0], 0.0])
    bend = -angle if left @ side > 0 else angle
    # From the middle of the chord to that of the circle, which lies on the other side.
    middle = (first + last) / 2 + np.sign(bend) * left / (2 * np.tan(angle / 2))
    arm, turns = first - middle, np.linspace(0, bend, _POINTS)
    across = np.array([-arm[1], arm[0], 0.0])
    return Route(middle + np.outer(np.cos(turns), arm) + np.outer(np.sin(turns), across), bend, side)


def _inside(route: Route, box: Rect, clear: float) -> np.ndarray:
    """Which of its points are in a box, or so near to it."""
    x, y = route.points[:, 0], route.points[:, 1]
    return (x > box.left - clear) & (x < box.right + clear) & (y > box.bottom - clear) & (y < box.top + clear)


def crosses(route: Route, boxes: list[Rect]) -> int:
    """How many boxes a way goes through."""
    return sum(bool(_inside(route, box, _CLEAR).any()) for box in boxes)


def hits(route: Route, boxes: list[Rect], within: Rect) -> int:
    """How many boxes a way goes through; to leave the picture counts as one more."""
    return crosses(route, boxes) + (not _inside(route, within, 0).all())


def best(ways: list[Route], boxes: list[Rect], within: Rect) -> Route:
    """The first way that goes through no box, or through the fewest."""
    return min(ways, key=lambda way: hits(way, boxes, within))
