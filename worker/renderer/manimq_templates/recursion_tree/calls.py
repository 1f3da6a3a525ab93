"""The tree of calls that a recursive function makes, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

SHORT = {"fibonacci": "fib", "factorial": "fact"}


@dataclass
class Call:
    """One call: its argument, what it returns, and the calls that it makes first."""

    n: int
    value: int = 0
    kind: str = "sum"
    """``base``: known at once; ``noted``: was computed before; ``sum``: of what its calls return."""
    column: float = 0.0
    row: int = 0
    children: list[Call] = field(default_factory=list)


def calls_of(function: str, n: int, memo: bool = False) -> Call:
    """The call and all below it."""
    noted: dict[int, int] = {}

    def call(n: int, row: int) -> Call:
        made = Call(n, row=row)
        if n <= 1:
            made.kind, made.value = "base", n if function == "fibonacci" else 1
        elif memo and n in noted:
            made.kind, made.value = "noted", noted[n]
        else:
            made.children = [call(each, row + 1) for each in ((n - 1, n - 2) if function == "fibonacci" else (n - 1,))]
            values = [each.value for each in made.children]
            made.value = sum(values) if function == "fibonacci" else n * values[0]
            noted[n] = made.value
        return made

    root = call(n, 0)
    _place(root, 0.0)
    return root


def _place(call: Call, free: float) -> float:
    """Leaves side by side, callers over the middle of their calls; the next free column."""
    if not call.children:
        call.column = free
        return free + 1
    for each in call.children:
        free = _place(each, free)
    call.column = (call.children[0].column + call.children[-1].column) / 2
    return free


def all_of(call: Call) -> list[Call]:
    """The call and all below it, in the order in which they begin."""
    return [call, *(each for child in call.children for each in all_of(child))]
