"""What templates are made of: one look, one way to lay out, one way to compute.

A template imports this package and Manim, and nothing else. Everything that a
user wrote reaches it as data: strings that are drawn, numbers, and trees that
``Formula`` evaluates.
"""

from .axes import apart, Plot, nice_step, pi_text, ticks_between
from .draw import arrow, clipped_segment
from .formula import Formula, complex_value, latex_of, shown, value
from .functions import asymptotes, extrema, good_y_range, integral, nice_fraction, roots
from .layout import Box, even, fit, frame_box, halo, keep_in
from .numbers import counted, given, num, tex_num
from .scene import TemplateScene
from .symbolic import derivative, polynomial, simplify
from .text import LATEX_SIZES, Lines, clean, list_size, one_line, planned, read_s, tex, text
from .theme import Theme, pace_of

__all__ = [
    "Box", "Formula", "LATEX_SIZES", "Lines", "Plot", "TemplateScene", "Theme", "apart", "arrow", "asymptotes", "clean",
    "clipped_segment", "complex_value", "counted", "derivative", "even", "extrema", "fit", "frame_box", "good_y_range",
    "given", "halo", "integral", "keep_in", "latex_of", "list_size", "nice_fraction", "nice_step", "num", "one_line", "pace_of",
    "pi_text", "planned", "polynomial", "read_s", "roots", "shown", "simplify", "tex", "tex_num", "text", "ticks_between",
    "value",
]  # fmt: skip
