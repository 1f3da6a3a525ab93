"""Which formulas a scene will probably ask for, read from its text.

A scene asks for one formula after the other and waits for each. Those that are
written down as constants can be set side by side before it asks: each call of a
class of Manim's own with constant strings is made once with TeX cut off, so that
the request is the one that the scene will make. A wrong guess costs a TeX run
that nobody waits for.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import manim
import manim.mobject.text.tex_mobject as tex_mobject
import numpy as np
from manim import Scene

FORMULAS_MAX = 32
"""Formulas of one scene that are announced; the guard takes 64."""
_CLASSES = frozenset(
    getattr(manim, name) for name in ("SingleStringMathTex", "MathTex", "Tex", "Title", "BulletedList")
)
_DECIDING = frozenset({"arg_separator", "substrings_to_isolate", "tex_environment"})
"""Arguments that are part of what is set."""
_UNKNOWABLE = frozenset({"tex_template", "tex_to_color_map"})
"""Arguments that are part of it too, and no plain constants."""


class _Seen(BaseException):
    """Thrown where TeX would run. Not an Exception: Manim's own handlers pass it on."""

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        super().__init__()
        self.arguments, self.named = arguments, named


def foresee(
    text: str, module: ModuleType, chosen: type[Scene], request: Callable[..., dict[str, Any]]
) -> list[dict[str, Any]]:
    """The requests, in the order of the text, each once. A text that is no Python has none."""
    if "Tex" not in text and "Title" not in text and "BulletedList" not in text:
        return []
    found: list[dict[str, Any]] = []
    state = random.getstate(), np.random.get_state()
    stock = tex_mobject.tex_to_svg_file
    tex_mobject.tex_to_svg_file = _stop_here
    try:
        for call in _calls(ast.parse(text), module, chosen):
            wanted = _request_of(call, module, request)
            if wanted is not None and wanted not in found:
                found.append(wanted)
            if len(found) == FORMULAS_MAX:
                break
    except Exception:  # noqa: BLE001 - a guess must never fail a render
        pass
    finally:
        tex_mobject.tex_to_svg_file = stock
        random.setstate(state[0])
        np.random.set_state(state[1])
    return found


def _stop_here(*arguments: Any, **named: Any) -> Any:
    raise _Seen(arguments, named)


def _calls(tree: ast.AST, module: ModuleType, chosen: type[Scene]) -> Iterator[ast.Call]:
    """All calls in the text but those in scenes that are not rendered, in order."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            known = getattr(module, node.name, None)
            if isinstance(known, type) and issubclass(known, Scene) and not issubclass(chosen, known):
                continue
        if isinstance(node, ast.Call):
            yield node
        yield from _calls(node, module, chosen)


def _request_of(
    call: ast.Call, module: ModuleType, request: Callable[..., dict[str, Any]]
) -> dict[str, Any] | None:
    wanted = _named(call.func, module)
    if not isinstance(wanted, type) or wanted not in _CLASSES:
        return None
    names = {keyword.arg for keyword in call.keywords}
    if None in names or names & _UNKNOWABLE:
        return None
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        deciding = {
            keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg in _DECIDING
        }
    except ValueError:
        return None
    if not arguments or not all(isinstance(argument, str) for argument in arguments):
        return None
    try:
        wanted(*arguments, **deciding)
    except _Seen as seen:
        return request(*seen.arguments, **seen.named)
    except Exception:  # noqa: BLE001 - the scene will meet it, and say where
        pass
    return None


def _named(expression: ast.expr, module: ModuleType) -> Any:
    """What ``Name`` or ``package.Name`` means in the module."""
    if isinstance(expression, ast.Name):
        return getattr(module, expression.id, None)
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        return getattr(getattr(module, expression.value.id, None), expression.attr, None)
    return None
