"""Logical expressions as data: trees that the API made of what the user typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DEPTH_MAX, VARIABLES_MAX, COLUMNS_MAX = 26, 4, 7
NUMBERS = "①②③④⑤⑥⑦"
Tree = Any
"""A variable's letter, or ``[op, tree…]``."""

_SHOWN = {"not": "¬", "and": "∧", "or": "∨", "xor": "⊕", "nand": "NAND", "nor": "NOR", "if": "→", "iff": "↔"}


def check(tree: Tree) -> Tree:
    """The tree. Raises ``ValueError`` for one that the API would not have made."""

    def walk(node: Tree, depth: int) -> None:
        if isinstance(node, str) and len(node) == 1 and "A" <= node <= "Z":
            return
        operator = node[0] if isinstance(node, list) and node and isinstance(node[0], str) else ""
        if operator not in _SHOWN or len(node) != (2 if operator == "not" else 3) or depth > DEPTH_MAX:
            raise ValueError(f"not a logical expression: {str(node)[:40]!r}")
        for each in node[1:]:
            walk(each, depth + 1)

    walk(tree, 1)
    if len(variables(tree)) > VARIABLES_MAX or len(parts(tree)) > COLUMNS_MAX:
        raise ValueError(f"at most {VARIABLES_MAX} variables and {COLUMNS_MAX} parts are taken")
    return tree


def variables(tree: Tree) -> list[str]:
    """In alphabetical order."""
    if isinstance(tree, str):
        return [tree]
    return sorted({name for each in tree[1:] for name in variables(each)})


def parts(tree: Tree) -> list[Tree]:
    """All that is worth a column of its own, the inner parts first, the whole last."""
    found: list[Tree] = []

    def walk(node: Tree) -> None:
        if isinstance(node, list):
            for each in node[1:]:
                walk(each)
            if node not in found:
                found.append(node)

    walk(tree)
    return found or [tree]


def value(tree: Tree, given: dict[str, bool]) -> bool:
    """True or false, for given values of the variables."""
    if isinstance(tree, str):
        return given[tree]
    op, *rest = tree
    a, b = value(rest[0], given), value(rest[-1], given)
    return {
        "not": not a, "and": a and b, "or": a or b, "xor": a != b, "nand": not (a and b), "nor": not (a or b), "if": not a or b, "iff": a == b,
    }[op]  # fmt: skip


def shown(tree: Tree, inside: bool = False, named: Sequence[Tree] = ()) -> str:
    """As mathematicians write it. Parts that are in ``named`` are their numbers there."""
    if isinstance(tree, str):
        return tree
    if inside and tree in named:
        return NUMBERS[named.index(tree)]
    if tree[0] == "not":
        return f"¬{shown(tree[1], True, named)}"
    written = f" {_SHOWN[tree[0]]} ".join(shown(each, True, named) for each in tree[1:])
    return f"({written})" if inside else written
