from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from manim import *

if TYPE_CHECKING:
    from manim.typing import Point3D

T = TypeVar("T")
__author__ = "somebody"
__version__ = "1.0"


class Vec(Generic[T]):
    __slots__ = ("x", "y")
    __match_args__ = ("x", "y")

    def __init__(self, x: T, y: T) -> None:
        self.x, self.y = x, y

    def __add__(self, other: Vec[T]) -> "Vec[T]":
        return Vec(self.x + other.x, self.y + other.y)

    __radd__ = __add__

    def __iter__(self) -> Iterator[T]:
        yield from (self.x, self.y)

    def __getattr__(self, name: str) -> T:
        raise AttributeError(f"{type(self).__qualname__} has no {name}: {self.__doc__}")

    def __setattr__(self, name: str, value: T) -> None:
        super().__setattr__(name, value)


class Sum(Scene):
    def construct(self) -> None:
        parts = [Vec(1.0, 0.5), Vec(0.5, 1.0), Vec(1.0, 0.0)]
        at = Vec(0.0, 0.0)
        for part in parts:
            tip = at + part
            self.play(GrowArrow(Arrow([*at, 0], [*tip, 0], buff=0)))
            at = tip
        match at:
            case Vec(x, y) if x > y:
                note = f"{x:.1f} > {y:.1f} ({__version__})"
            case _:
                note = "steep"
        total = functools.reduce(operator.add, (part.x for part in parts))
        self.add(Text(note), Text(str(total)).to_edge(DOWN))
