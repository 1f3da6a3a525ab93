"""Does to fixtures what the API does to parameters: texts of formulas, numbers and colours become data.

For tests and previews only, and only for what our own fixtures write; the real
one is in Rust, with errors for people.
"""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

from manimq_templates.kit import Formula, latex_of

_NAMES = {"pi", "e", "tau", "i"}
_OPS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^"}
_FUNCTIONS = (
    "sin cos tan cot sec csc asin acos atan sinh cosh tanh exp ln log log2 sqrt cbrt abs floor ceil sign min max"
).split()


def parse(written: str) -> Any:
    """The tree of a formula."""
    text = written.strip().replace("π", "pi").replace("−", "-").replace("·", "*").replace("^", "**")
    text = re.sub(r"(?<![a-z\d])(\d+(?:\.\d+)?)\s*(?=[a-z(])", r"\1*", text)
    text = re.sub(r"\)\s*(?=[a-z(])", ")*", text)
    text = re.sub(r"\b([xyzi])\s*\(", r"\1*(", text)
    return _tree(ast.parse(text, mode="eval").body)


def _tree(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=number):
            return number
        case ast.Name(id=name):
            return name
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ["neg", _tree(operand)]
        case ast.BinOp(left=left, op=op, right=right):
            return [_OPS[type(op)], _tree(left), _tree(right)]
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS:
            return [name, *map(_tree, arguments)]
    raise ValueError(ast.dump(node))


def resolve(schema: dict[str, Any], param: Any) -> Any:
    """A parameter as a scene sees it."""
    if isinstance(param, dict) and "properties" in schema:
        known = schema["properties"]
        filled = {name: each["default"] for name, each in known.items() if "default" in each} | param
        return {name: resolve(known.get(name, {}), each) for name, each in filled.items()}
    if isinstance(param, list):
        kinds = schema.get("prefixItems")
        return [resolve(kinds[i] if kinds else schema.get("items", {}), each) for i, each in enumerate(param)]
    match schema.get("format"):
        case "formula":
            tree = parse(param)
            return {"text": param, "latex": latex_of(tree), "ast": tree}
        case "equation":
            left, right = (parse(side.strip()) for side in param.split("="))
            return {"text": param, "latex": f"{latex_of(left)} = {latex_of(right)}", "left": left, "right": right}
        case "latex":
            return {"latex": param}
        case "number":
            tree = param if isinstance(param, int | float) else parse(param)
            number = Formula.of_ast(tree, ())()
            assert math.isfinite(number), param
            return {"value": number, "text": str(param), "latex": latex_of(tree)}
        case "logic":
            return {"text": param, "tree": logical(param)}
        case "color":
            return param if param.startswith("#") else _COLOURS[param]
    return param


_LOGIC = {
    "->": ("if", 2), "<->": ("iff", 1), "OR": ("or", 3), "||": ("or", 3), "XOR": ("xor", 4), "^": ("xor", 4), "AND": ("and", 5),
    "&&": ("and", 5), "=>": ("if", 2),
}  # fmt: skip


def logical(written: str) -> Any:
    """The tree of a logical expression."""
    tokens = re.findall(r"<->|->|=>|&&|\|\||[!¬^()]|[A-Za-z]+", written)[::-1]

    def operand() -> Any:
        token = tokens.pop()
        if token in ("!", "¬", "NOT"):
            return ["not", operand()]
        if token != "(":
            return token.upper()
        inner = joined(0)
        tokens.pop()
        return inner

    def joined(least: int) -> Any:
        left = operand()
        while tokens and tokens[-1] in _LOGIC and _LOGIC[tokens[-1]][1] > least:
            op, strength = _LOGIC[tokens.pop()]
            left = [op, left, joined(strength - (op == "if"))]
        return left

    return joined(0)


_COLOURS = {
    "red": "#e5484d", "blue": "#3b82f6", "green": "#2fa36b", "yellow": "#f5c542", "orange": "#f28c28",
    "purple": "#8e5bd0", "pink": "#e667a6", "black": "#101010", "white": "#fafafa", "grey": "#8a8f98",
}  # fmt: skip


def _sequence(params: dict[str, Any]) -> dict[str, Any]:
    """The parts' own parameters, each by its template's schema."""
    from manimq_templates import UnknownTemplate

    parts = []
    for each in params["parts"]:
        try:
            parts.append({"template": each["template"], "params": resolve(_schema(each["template"], False), each["params"])})
        except UnknownTemplate:
            parts.append(each)
    return params | {"parts": parts}


def _schema(template: str, with_common: bool = True) -> dict[str, Any]:
    from manimq_templates import FOLDER, description

    common = json.loads((FOLDER / "common.json").read_text(encoding="utf-8"))["properties"]
    if not with_common:  # a part takes the sequence's look where it has none of its own
        common = {name: {k: v for k, v in each.items() if k != "default"} for name, each in common.items()}
    return {"properties": common | description(template)["parameters"]["properties"]}


def resolved_fixture(template: str, which: str) -> dict[str, Any]:
    """A fixture of a template, resolved, defaults filled in."""
    from manimq_templates import folder

    fixtures = json.loads((folder(template) / "fixtures.json").read_text(encoding="utf-8"))
    made = resolve(_schema(template), fixtures[which])
    return _sequence(made) if template == "sequence" else made
