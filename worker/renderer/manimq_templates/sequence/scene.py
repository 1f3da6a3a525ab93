"""Sequence: other templates one after the other, in one film and one look."""

from __future__ import annotations

from typing import Any

from .. import UnknownTemplate, kit, template_class

_GAP_S = 0.5
_PARTS_MAX = 8
_SHARED = ("palette", "background", "pace", "seed")
"""What parts take from the sequence where they do not say it themselves."""


def parts_of(p: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """The templates with their parameters. No sequence in a sequence; what is unknown is left out."""
    shared = {name: p[name] for name in _SHARED if p.get(name) is not None}
    found = []
    for each in (p.get("parts") or [])[:_PARTS_MAX]:
        try:
            made = template_class(each["template"]) if each["template"] != "sequence" else None
        except UnknownTemplate:
            made = None
        if made is not None:
            found.append((made, {**shared, **each["params"]}))
    if not found:
        raise ValueError("a sequence needs at least one part that is a template of the catalogue, and not a sequence")
    return found


class Template(kit.TemplateScene):
    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        parts = parts_of(p)
        pace = kit.pace_of(p)
        return sum(part.declared_seconds(params) for part, params in parts) / pace + _GAP_S * (len(parts) - 1)

    def construct(self) -> None:
        mine, pace = type(self), kit.pace_of(self.params)
        parts = parts_of(self.params)
        try:
            for index, (part, params) in enumerate(parts):
                # The scene becomes the part for a while: one camera, one clock, one film.
                self.__class__ = type(part.__name__, (part,), {"params": params})
                self.begin()
                self.story()
                self.hold()
                if index + 1 < len(parts):
                    self.pace = pace
                    self.clear_stage(_GAP_S)
        finally:
            self.__class__ = mine
