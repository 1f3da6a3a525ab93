"""The one system of colours, type sizes and line widths, light and dark."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import manimpango
from manim import ManimColor

_DARK = {
    "background": "#0e1420", "panel": "#18202f", "ink": "#f1f4f9", "muted": "#a3adbd", "faint": "#2b3548",
    "series": ("#5aa9ff", "#ffb44d", "#5fd792", "#ff7a7a", "#b795ff", "#46d3cf", "#ff8ac2", "#c8d455"),
}  # fmt: skip
_LIGHT = {
    "background": "#fbfaf6", "panel": "#f0eee6", "ink": "#182030", "muted": "#576173", "faint": "#dcdad1",
    "series": ("#1a66c9", "#c06400", "#15804f", "#cc3535", "#7546cf", "#0a807c", "#b8327b", "#6d7500"),
}  # fmt: skip

PACES = {"slow": 1.4, "normal": 1.0, "fast": 0.7}


def pace_of(params: dict[str, Any]) -> float:
    """What all times are multiplied by."""
    return PACES.get(params.get("pace", "normal"), 1.0)


@dataclass(frozen=True)
class Theme:
    """Colours and sizes. Sizes are Manim's font sizes in a frame whose short side is 8 units."""

    background: str
    panel: str
    ink: str
    muted: str
    faint: str
    series: tuple[str, ...]
    dark: bool
    title: float = 46
    heading: float = 36
    body: float = 32
    small: float = 28
    tiny: float = 22
    stroke: float = 4.0
    hair: float = 1.6
    font: str = field(default_factory=lambda: sans_font())
    mono: str = "DejaVu Sans Mono"

    @classmethod
    def of(cls, params: dict) -> Theme:
        """The theme that the common parameters ask for; ink follows a background of the user's own."""
        background = params.get("background")
        dark = params.get("palette", "dark") != "light"
        if isinstance(background, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", background):
            dark = _luminance(background) < 0.30
        else:
            background = None
        colours = dict(_DARK if dark else _LIGHT)
        if background:
            colours["background"] = background
            base = ManimColor(background)
            colours["panel"] = base.interpolate(ManimColor(colours["ink"]), 0.07).to_hex()
            colours["faint"] = base.interpolate(ManimColor(colours["ink"]), 0.18).to_hex()
            colours["muted"] = base.interpolate(ManimColor(colours["ink"]), 0.72).to_hex()
        return cls(dark=dark, **colours)

    # The series by name: what a template means, not where a colour stands in the list.
    @property
    def blue(self) -> str:
        return self.series[0]

    @property
    def amber(self) -> str:
        return self.series[1]

    @property
    def green(self) -> str:
        return self.series[2]

    @property
    def red(self) -> str:
        return self.series[3]

    @property
    def violet(self) -> str:
        return self.series[4]

    @property
    def teal(self) -> str:
        return self.series[5]

    def colour(self, index: int) -> str:
        """The series' colour of that number, round and round."""
        return self.series[index % len(self.series)]

    def wash(self, colour: str, strength: float = 0.22) -> str:
        """The colour as a tint of the background, for fills that text stands on."""
        return ManimColor(self.background).interpolate(ManimColor(colour), strength).to_hex()

    def on(self, fill: str) -> str:
        """Dark or light ink, whichever reads better on that fill."""
        return "#101622" if _luminance(fill) > 0.30 else "#ffffff"


def _luminance(colour: str) -> float:
    def linear(c: float) -> float:
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@cache
def sans_font() -> str:
    """Inter where it is installed (``deploy/setup`` sees to it), else DejaVu, which Pango brings."""
    return "Inter" if "Inter" in manimpango.list_fonts() else "DejaVu Sans"
