"""Logical expressions: words and signs become a tree. Bounded, and never more than data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

CHARS_MAX, DEPTH_MAX, VARIABLES_MAX, COLUMNS_MAX = 120, 12, 4, 7
NUMBERS = "①②③④⑤⑥⑦"
Tree = Any
"""A variable's letter, or ``[op, tree…]``."""

_TOKEN = re.compile(r"\s*(?:(<->|<=>|->|=>|&&|\|\||[!~¬∧∨⊕→⇒↔⇔&|^()])|([A-Za-z]+))")
_WORDS = {"not": "not", "and": "and", "or": "or", "xor": "xor", "nand": "nand", "nor": "nor", "implies": "if", "iff": "iff"}
_SIGNS = {
    "!": "not", "~": "not", "¬": "not", "∧": "and", "&": "and", "&&": "and", "∨": "or", "|": "or", "||": "or", "⊕": "xor", "^": "xor",
    "->": "if", "=>": "if", "→": "if", "⇒": "if", "<->": "iff", "<=>": "iff", "↔": "iff", "⇔": "iff",
}  # fmt: skip
_STRENGTH = {"iff": 1, "if": 2, "or": 3, "nor": 3, "xor": 4, "and": 5, "nand": 5}
_SHOWN = {"not": "¬", "and": "∧", "or": "∨", "xor": "⊕", "nand": "NAND", "nor": "NOR", "if": "→", "iff": "↔"}


class LogicError(ValueError):
    """What is wrong with an expression, and where."""


def parse(written: str) -> Tree:
    """The tree of an expression such as ``NOT (A AND B)`` or ``¬(A ∧ B)``.

    Raises:
        LogicError: it is none; the message names the place.
    """
    if len(written) > CHARS_MAX:
        raise LogicError(f"the expression has {len(written)} characters, at most {CHARS_MAX} are taken")
    tokens, at = [], 0
    text = written.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            wrong = len(text) - len(text[at:].lstrip())
            raise LogicError(f"{text[wrong]!r} at character {wrong + 1} of the expression is neither a letter nor a logical sign")
        sign, word = found.groups()
        start = found.end() - len(sign or word) + 1
        if sign:
            tokens.append((_SIGNS.get(sign, sign), start))
        elif word.lower() in _WORDS:
            tokens.append((_WORDS[word.lower()], start))
        elif len(word) == 1:
            tokens.append(("=" + word.upper(), start))
        else:
            raise LogicError(f"{word[:20]!r} at character {start} of the expression is not known; variables are single letters")
        at = found.end()
    parser = _Parser([*tokens, ("", len(text) + 1)])
    tree = parser.expression(0, 0)
    if parser.word:
        raise LogicError(f"nothing is expected at character {parser.place} of the expression")
    if len(variables(tree)) > VARIABLES_MAX:
        raise LogicError(f"the expression has {len(variables(tree))} variables, at most {VARIABLES_MAX} are taken")
    if len(parts(tree)) > COLUMNS_MAX:
        raise LogicError(f"the expression has {len(parts(tree))} parts, at most {COLUMNS_MAX} are taken: leave out what is said twice")
    return tree


class _Parser:
    def __init__(self, tokens: list[tuple[str, int]]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def word(self) -> str:
        return self._tokens[self._at][0]

    @property
    def place(self) -> int:
        return self._tokens[self._at][1]

    def expression(self, least: int, depth: int) -> Tree:
        if depth > DEPTH_MAX:
            raise LogicError(f"the expression is nested more than {DEPTH_MAX} deep")
        left = self._operand(depth)
        while self.word in _STRENGTH and _STRENGTH[self.word] > least:
            op, strength = self.word, _STRENGTH[self.word]
            self._at += 1
            # Implications read from the right: A → B → C is A → (B → C).
            left = [op, left, self.expression(strength - (op == "if"), depth + 1)]
        return left

    def _operand(self, depth: int) -> Tree:
        word, place = self.word, self.place
        if word.startswith("="):
            self._at += 1
            return word[1:]
        if word == "not":
            self._at += 1
            if depth > DEPTH_MAX:
                raise LogicError(f"the expression is nested more than {DEPTH_MAX} deep")
            return ["not", self.expression(5, depth + 1) if self.word not in ("not", "(") else self._operand(depth + 1)]
        if word == "(":
            self._at += 1
            inner = self.expression(0, depth + 1)
            if self.word != ")":
                raise LogicError(f"the bracket at character {place} of the expression is not closed")
            self._at += 1
            return inner
        raise LogicError(f"a variable or a bracket is expected at character {place} of the expression")


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
