"""``python -m tests.hostile [ROUNDS [TEMPLATE…]]``: plays each template's story with hostile words in all its text fields.

Formulas, numbers and what else has a format become others that the API would accept, however odd (``accepted``).

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
from manimq_templates.kit.formula import _ARITY, latex_of

from .resolve import _schema, resolve

FIXTURES = ("default", "minimal", "hostile", "maximal")
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
        heard.append(f"{event} {' '.join(str(each)[:2000] for each in arguments[:2])}")


def _of_networkx(event: str) -> bool:
    """NetworkX makes the wrapper of a function of its own when that is first called."""
    return event.startswith(("compile ", "exec ")) and "networkx.utils.decorators.argmap" in event and MARK not in event


def words(chance: random.Random, most: int) -> str:
    """A hostile text of at most that many characters. Most are short: a long one takes a second to draw."""
    most = min(most, chance.choice((12, 16, 24, 40, 1200)))
    pieces = [chance.choice(PIECES) for _ in range(chance.randint(1, 3))]
    pieces.insert(chance.randrange(len(pieces) + 1), "".join(chr(chance.choice((chance.randrange(128), chance.randrange(0x11000)))) for _ in range(4)))
    return (MARK + "".join(pieces))[:most]


def tree(chance: random.Random, names: tuple[str, ...], depth: int = 4) -> Any:
    """A formula's tree of any kind, as large numbers as one may write in it, poles and gaps."""
    if depth == 0 or chance.random() < 0.25:
        return chance.choice((*names, *names, "pi", "e", 0, 1, 2, 3, 0.1, 1000, 1e-9, 1e15, 1e300))
    op = chance.choice(("+", "-", "*", "/", "^", *_ARITY))
    low, high = _ARITY[op]
    return [op, *(tree(chance, names, depth - 1) for _ in range(chance.randint(low, min(high, max(low, 3)))))]


def logical(chance: random.Random, depth: int = 3) -> Any:
    """A logical expression's tree."""
    if depth == 0 or chance.random() < 0.3:
        return chance.choice("ABCD")
    op = chance.choice(("not", "and", "or", "xor", "nand", "nor", "if", "iff"))
    return [op, *(logical(chance, depth - 1) for _ in range(1 if op == "not" else 2))]


def number(chance: random.Random, schema: dict[str, Any]) -> float:
    """Of the numbers that a schema takes, mostly an extreme one."""
    low, high = (
        schema.get(end, schema.get(f"exclusive{end.capitalize()}", other)) for end, other in (("minimum", -1e9), ("maximum", 1e9))
    )
    found = chance.choice((low, high, 0, 1, -1, 1e-9, chance.uniform(low, high), chance.uniform(-5, 5), chance.randint(-9, 9)))
    if "exclusiveMinimum" in schema:
        low += 1e-9
    return min(max(found, low), high)


def accepted(schema: dict[str, Any], chance: random.Random) -> Any:
    """What the API would make of some text in a field with this format."""
    names = tuple(schema.get("x-variables", ["x"]))
    written = chance.choice(("x", "1/0", "a b", "%s{}", "\u03c0" * 40))
    match schema["format"]:
        case "formula":
            made = tree(chance, (*names, *(["i"] if schema.get("x-complex") else [])) or ("pi",))
            return {"text": written, "latex": latex_of(made), "ast": made}
        case "equation":
            left, right = tree(chance, names, 3), tree(chance, names, 3)
            return {"text": written, "latex": f"{latex_of(left)} = {latex_of(right)}", "left": left, "right": right}
        case "number":
            value = number(chance, schema)
            return {"value": value, "text": str(value), "latex": str(value)}
        case "logic":
            return {"text": written, "tree": logical(chance)}
        case "latex":
            return {"latex": chance.choice((r"\frac{1}{0}", r"\sqrt[3]{\int_0^\infty}", "x", r"\text{a}", r"\begin{matrix}1&2\\3&4\end{matrix}"))}
        case "color":
            return f"#{chance.randrange(1 << 24):06x}"
    raise ValueError(schema["format"])


def spoiled(schema: dict[str, Any], value: Any, chance: random.Random, odd: float) -> Any:
    """What the API makes of the value, with hostile words wherever its schema has any text.

    ``odd``: how many of the fields with a format become others. One that only the API can read always does.
    """
    if "format" in schema:
        if chance.random() >= odd:
            try:
                return resolve(schema, value)
            except (ValueError, SyntaxError, AssertionError, KeyError, ZeroDivisionError, AttributeError, TypeError):
                pass
        return accepted(schema, chance)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        filled = {name: each["default"] for name, each in known.items() if "default" in each} | value
        made = {name: spoiled(known.get(name, {}), each, chance, odd) for name, each in filled.items()}
        for name in made:
            if name.endswith("range"):  # it goes up, the API sees to that
                made[name].sort(key=lambda each: each["value"])
        return made
    if isinstance(value, list):
        return [spoiled(schema.get("items", {}), each, chance, odd) for each in value]
    if isinstance(value, str) and "enum" not in schema and "maxLength" in schema:
        return words(chance, schema["maxLength"])
    return value


def params_of(template: str, which: str, chance: random.Random) -> dict[str, Any]:
    """A fixture of the template, resolved as by the API, with hostile words."""
    fixtures = json.loads((catalogue.folder(template) / "fixtures.json").read_text(encoding="utf-8"))
    fixture = {"title": "x", "subtitle": "x", "captions": ["x", "x", "x"]} | copy.deepcopy(fixtures[which])
    odd = chance.choice((0.0, 0.3, 1.0))
    made = spoiled(_schema(template), fixture, chance, odd)
    if template == "sequence":  # its parts are templates with words of their own
        made["parts"] = [
            {**each, "params": spoiled(_schema(each["template"], False), each["params"], chance, odd)}
            for each in fixture["parts"]
            if each["template"] in catalogue.ids()
        ]
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
    rounds, only = int(sys.argv[1]) if len(sys.argv) > 1 else 1, sys.argv[2:]
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
            if only and template not in only:
                continue
            for turn in range(rounds):
                chance = random.Random(1000 * number + turn)
                which = FIXTURES[(number + turn) % len(FIXTURES)]
                params = params_of(template, which, chance)
                result = play(template, params)
                # Pango writes a line of text as an SVG, which is read and removed.
                own = tuple(f"{event} {folder}/texts" for event in ("open", "os.mkdir", "os.remove"))
                result["events"] = [each for each in result["events"] if not each.startswith(own) and not _of_networkx(each)]
                print(json.dumps(result | {"which": which, "turn": turn}), flush=True)


if __name__ == "__main__":
    main()
