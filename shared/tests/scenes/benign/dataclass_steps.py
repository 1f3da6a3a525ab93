from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from manim import *


class Move(Enum):
    COMPARE = auto()
    SWAP = auto()


@dataclass(frozen=True, slots=True)
class Step:
    move: Move
    left: int
    right: int
    tags: list[str] = field(default_factory=list)


@dataclass
class Sorter:
    values: list[int]
    steps: list[Step] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for end in range(len(self.values) - 1, 0, -1):
            for i in range(end):
                self.steps.append(Step(Move.COMPARE, i, i + 1))
                if self.values[i] > self.values[i + 1]:
                    self.values[i], self.values[i + 1] = self.values[i + 1], self.values[i]
                    self.steps.append(Step(Move.SWAP, i, i + 1))


class BubbleSort(Scene):
    def construct(self) -> None:
        values = [5, 2, 8, 1, 9, 3]
        bars = VGroup(*(Rectangle(width=0.6, height=v / 2) for v in values)).arrange(RIGHT)
        self.play(LaggedStart(*map(GrowFromEdge, bars, [DOWN] * len(bars))))
        for step in Sorter(list(values)).steps:
            one, other = bars[step.left], bars[step.right]
            if step.move is Move.SWAP:
                self.play(Swap(one, other), run_time=0.2)
                bars[step.left], bars[step.right] = other, one
            else:
                self.play(*[Indicate(bar, scale_factor=1.05) for bar in (one, other)], run_time=0.2)
