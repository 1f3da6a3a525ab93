"""The catalogue of templates: scenes that we wrote, which people fill with parameters.

One folder each; its name is the template's id with ``_`` for ``-``. Parameters
reach a scene as data: strings that are drawn, numbers, and trees of formulas.
"""

from __future__ import annotations

import difflib
import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


class UnknownTemplate(ValueError):
    """There is no template of that id."""


@cache
def ids() -> tuple[str, ...]:
    """All templates, in alphabetical order."""
    return tuple(sorted(each.parent.name.replace("_", "-") for each in FOLDER.glob("*/template.json")))


def folder(template_id: str) -> Path:
    """Where a template's files are.

    Raises:
        UnknownTemplate: there is none of that id; the message names the nearest.
    """
    if template_id not in ids():
        near = difflib.get_close_matches(template_id[:60], ids(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownTemplate(f"there is no template {template_id[:60]!r}{hint}")
    return FOLDER / template_id.replace("-", "_")


@cache
def description(template_id: str) -> dict[str, Any]:
    """What its ``template.json`` says."""
    return json.loads((folder(template_id) / "template.json").read_text(encoding="utf-8"))


def template_class(template_id: str) -> Any:
    """The template's scene class, without parameters."""
    name = folder(template_id).name
    return importlib.import_module(f"{__name__}.{name}.scene").Template


def load(template_id: str, params: dict[str, Any]) -> Any:
    """A scene class that shows these parameters (in their resolved form), ready for Manim."""
    base = template_class(template_id)
    name = "".join(part.capitalize() for part in template_id.split("-"))
    version = description(template_id)["version"]
    more = {
        "params": dict(params), "template_id": template_id, "template_version": version, "__module__": base.__module__,
    }  # fmt: skip
    return type(name, (base,), more)


def preload() -> None:
    """Import all templates, so that a job which is forked later has nothing to read."""
    for each in ids():
        description(each)
        template_class(each)
