"""LaTeX inside a job: asks the guard, which runs it elsewhere (``tex.py``).

Takes the place of Manim's ``tex_to_svg_file``. The text, the file name and the
place of the SVG are Manim's own, so everything after it is untouched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manim.mobject.text.tex_mobject as tex_mobject
import manim.utils.tex_file_writing as tex_file_writing
from manim import TexTemplate, config

from .tex_words import plain

_LEADER_WAIT_S = 60.0
"""Longest wait of a drawer for a formula that its leader has asked for."""

Compile = Callable[[dict[str, Any]], tuple[dict[str, Any], bytes]]
"""Sends a request to the guard and waits for its header and body."""


class LatexFailed(ValueError):
    """LaTeX made no picture. A ValueError, as Manim's own failure is."""

    def __init__(self, message: str, formula: str, errors: list[str]) -> None:
        super().__init__(message)
        self.formula = formula
        self.errors = errors


def install(compile_elsewhere: Compile, leader: Callable[[], Path | None]) -> Callable[..., dict[str, Any]]:
    """Replace both references that Manim holds. Returns what makes a request of a formula.

    A process that has a leader (``split.py``) asks nobody: that one, which makes the same updates,
    has asked for the same formula, or is about to, and this is where it puts it.
    """

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
        folder_of_leader = leader()
        if folder_of_leader is not None:
            folder.mkdir(parents=True, exist_ok=True)
            # Of its own: Manim writes beside it, and takes that away.
            svg.write_bytes(_wait_for(folder_of_leader / svg.name))
            return svg
        header, body = compile_elsewhere({"e": "tex", **wanted})
        if not header["ok"]:
            prefix = "LaTeX could not set this formula: " if header["kind"] == "error" else ""
            raise LatexFailed(prefix + header["message"], plain(expression), header["errors"])
        folder.mkdir(parents=True, exist_ok=True)
        whole = svg.with_suffix(".part")
        whole.write_bytes(body)
        os.rename(whole, svg)  # a drawer must not see half of it
        return svg

    tex_mobject.tex_to_svg_file = tex_to_svg_file
    tex_file_writing.tex_to_svg_file = tex_to_svg_file
    return request


def _wait_for(svg: Path) -> bytes:
    give_up = time.monotonic() + _LEADER_WAIT_S
    while not svg.exists():
        if time.monotonic() > give_up:
            raise TimeoutError("the leader has not asked for this formula")
        time.sleep(0.005)
    return svg.read_bytes()
