"""``python -m tests.hostile [ROUNDS]``: plays each template's story with hostile words in all its text fields.

No picture is made, and LaTeX is not run. A line of JSON for each story says what became of it and, told by Python
itself (``sys.addaudithook``), which code was compiled, run or imported meanwhile, which files were opened and which
programs started: what words could have done, were they ever more than data.
"""

from __future__ import annotations

import copy
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from manim import Rectangle, config
from manim.renderer.cairo_renderer import CairoRenderer

import manimq_templates as catalogue
from manimq_templates import kit

from .resolve import _schema, _sequence, resolve

MARK = "Zqx"
"""Is in each hostile text, so that it is known again where it turns up."""
PIECES = (
    "{", "}", "{{}}", "{0.__class__.__mro__}", "%s%n%(x)s", "${7*7}", "__import__('os').system('id')", "'\"\"\"\\", "`id`", "$(id)",
    "\\input{/etc/passwd}", "\\write18{ls}", "\\end{align*}\\def\\x{}", "^^5cinput", "$x$", "%", "#", "&", "~", "_", "<b>&amp;</b>",
    "<svg onload=x>", "]]>", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "\n", "\r\n\t", "\x00", "\x1b[2J", "\u202e\u2066", "\ufeff\u200b",
    "e\u0301\u0302\u0303" * 9, "\u0488" * 30, "👩‍👩‍👧‍👦", "مرحبا", "你好世界", "𝒳²½∞√π", "İßﬁ", "\ud800", "\U0010ffff", "W" * 300, "a b " * 90, "lambda: 0",
)  # fmt: skip
WATCHED = ("exec", "compile", "import", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.")

heard: list[str] | None = None
"""What the hook has to say, while it listens."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if heard is not None and event.startswith(WATCHED):
        heard.append(f"{event} {' '.join(str(each)[:200] for each in arguments[:2])}")


def words(chance: random.Random, most: int) -> str:
    """A hostile text of at most that many characters. Most are short: a long one takes a second to draw."""
    most = min(most, chance.choice((12, 16, 24, 40, 1200)))
    pieces = [chance.choice(PIECES) for _ in range(chance.randint(1, 3))]
    pieces.insert(chance.randrange(len(pieces) + 1), "".join(chr(chance.choice((chance.randrange(128), chance.randrange(0x11000)))) for _ in range(4)))
    return (MARK + "".join(pieces))[:most]


def spoiled(schema: dict[str, Any], value: Any, chance: random.Random) -> Any:
    """The value with hostile words wherever its schema has any text."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return {name: spoiled(known.get(name, {}), each, chance) for name, each in value.items()}
    if isinstance(value, list):
        return [spoiled(schema.get("items", {}), each, chance) for each in value]
    if isinstance(value, str) and "enum" not in schema and "format" not in schema and "maxLength" in schema:
        return words(chance, schema["maxLength"])
    return value


def params_of(template: str, which: str, chance: random.Random) -> dict[str, Any]:
    """A fixture of the template, resolved as by the API, with hostile words."""
    schema = _schema(template)
    fixtures = json.loads((catalogue.folder(template) / "fixtures.json").read_text(encoding="utf-8"))
    # All fields that there are; the lists are those of the default, which are shorter.
    fixture = fixtures["maximal"] | (fixtures["default"] if which == "default" else {})
    common = {"title": "x", "subtitle": "x", "captions": ["x", "x", "x"]}
    made = resolve(schema, common | copy.deepcopy(fixture))
    made = spoiled(schema, made, chance)
    if template == "sequence":  # its parts are templates with words of their own
        fixture["parts"] = [
            {**each, "params": spoiled(_schema(each["template"]), each["params"], chance)}
            for each in fixture["parts"]
            if each["template"] in catalogue.ids()
        ]
        made = _sequence(made | {"parts": fixture["parts"]})
    return made | {"pace": "fast"}


class Formula(Rectangle):
    """Stands for a formula that LaTeX would set."""

    def __init__(self, written: str) -> None:
        super().__init__(width=1, height=0.4)
        self.tex_string = written


def play(template: str, params: dict[str, Any]) -> dict[str, Any]:
    """The story without pictures, and what was heard meanwhile."""
    global heard
    set_in_tex: list[str] = []

    def tex(scene: Any, *written: str, **more: Any) -> Formula:
        set_in_tex.extend(written)
        return Formula(" ".join(written))

    result: dict[str, Any] = {"template": template, "error": None, "message": ""}
    base = catalogue.template_class(template)
    with mock.patch.object(kit.TemplateScene, "tex", tex):
        heard = []
        try:
            catalogue.load(template, params)(renderer=CairoRenderer(skip_animations=True)).construct()
        except Exception as error:  # noqa: BLE001 - told, and judged by the test
            result |= {"error": type(error).__name__, "message": str(error)}
        finally:
            events, heard = heard, None
    result["source"] = str(Path(sys.modules[base.__module__].__file__ or "").relative_to(catalogue.FOLDER))
    result["events"] = events
    result["in_tex"] = [each for each in set_in_tex if MARK in each]
    return result


def main() -> None:
    """Each template a few times; the first time with words that harm nobody, so that what is loaded late is loaded."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    config.verbosity, config.progress_bar = "CRITICAL", "none"
    catalogue.preload()
    sys.addaudithook(_hook)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        folder = os.path.realpath(folder)
        os.chdir(folder)
        config.media_dir = folder
        # What Manim loads with the first play is not the words' doing.
        play("title-card", {"title": "x", "pace": "fast"})
        for number, template in enumerate(catalogue.ids()):
            for turn in range(rounds):
                chance = random.Random(1000 * number + turn)
                which = ("default", "maximal")[turn % 2]
                params = params_of(template, which, chance)
                result = play(template, params)
                # Pango writes a line of text as an SVG, which is read and removed.
                own = tuple(f"{event} {folder}/texts" for event in ("open", "os.mkdir", "os.remove"))
                result["events"] = [each for each in result["events"] if not each.startswith(own)]
                print(json.dumps(result | {"which": which, "turn": turn}), flush=True)


if __name__ == "__main__":
    main()
