"""What templates are made of: one look, one way to lay out, one way to compute.

A template imports this package and Manim, and nothing else. Everything that a
user wrote reaches it as data: strings that are drawn, numbers, and trees that
``Formula`` evaluates.
"""

from .axes import Plot, nice_step, ticks_between
from .formula import Formula, complex_value, latex_of, shown, value
from .layout import Box, fit, frame_box, halo
from .numbers import num, tex_num
from .scene import TemplateScene
from .symbolic import derivative, polynomial, simplify
from .text import LATEX_SIZES, Lines, clean, tex, text
from .theme import Theme

__all__ = [
    "LATEX_SIZES", "Box", "Formula", "Lines", "Plot", "TemplateScene", "Theme", "clean", "complex_value", "derivative",
    "fit", "frame_box", "halo", "latex_of", "nice_step", "num", "polynomial", "shown", "simplify", "tex", "tex_num",
    "text", "ticks_between", "value",
]  # fmt: skip
