"""LaTeX inside a job: asks the guard, which runs it elsewhere (``tex.py``).

Takes the place of Manim's ``tex_to_svg_file``. The text, the file name and the
place of the SVG are Manim's own, so everything after it is untouched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manim.mobject.text.tex_mobject as tex_mobject
import manim.utils.tex_file_writing as tex_file_writing
from manim import TexTemplate, config

Compile = Callable[[dict[str, Any]], tuple[dict[str, Any], bytes]]
"""Sends a request to the guard and waits for its header and body."""


class LatexFailed(ValueError):
    """LaTeX made no picture. A ValueError, as Manim's own failure is."""

    def __init__(self, message: str, formula: str, errors: list[str]) -> None:
        super().__init__(message)
        self.formula = formula
        self.errors = errors


_MARKS = re.compile(r"\\special\s*\{dvisvgm:raw\s[^{}]*\}")
"""Manim puts them around the parts of a MathTex, to find them again in the picture."""


def _plain(tex: str) -> str:
    """TeX as its author wrote it."""
    return _MARKS.sub("", tex)


def install(compile_elsewhere: Compile) -> Callable[..., dict[str, Any]]:
    """Replace both references that Manim holds. Returns what makes a request of a formula."""

    def request(
        expression: str, environment: str | None = None, tex_template: TexTemplate | None = None
    ) -> dict[str, Any]:
        template = config["tex_template"] if tex_template is None else tex_template
        if environment is not None:
            text = template.get_texcode_for_expression_in_env(expression, environment)
        else:
            text = template.get_texcode_for_expression(expression)
        return {"text": text, "compiler": template.tex_compiler, "extension": template.output_format}

    def tex_to_svg_file(
        expression: str, environment: str | None = None, tex_template: TexTemplate | None = None
    ) -> Path:
        wanted = request(expression, environment, tex_template)
        folder = config.get_dir("tex_dir")
        svg = folder / f"{tex_file_writing.tex_hash(wanted['text'])}.svg"
        if svg.exists():
            return svg
        header, body = compile_elsewhere({"e": "tex", **wanted})
        if not header["ok"]:
            prefix = "LaTeX could not set this formula: " if header["kind"] == "error" else ""
            errors = [_plain(each) for each in header["errors"]]
            raise LatexFailed(prefix + _plain(header["message"]), _plain(expression), errors)
        folder.mkdir(parents=True, exist_ok=True)
        svg.write_bytes(body)
        return svg

    tex_mobject.tex_to_svg_file = tex_to_svg_file
    tex_file_writing.tex_to_svg_file = tex_to_svg_file
    return request
