"""What the tests of dashboards, alerts and live metrics share: expressions, and the list of metrics."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").rglob("*.json"))
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))

# What stands for Grafana's own variables when an expression is parsed or tried.
GRAFANA = {"$__rate_interval": "1m", "$__range_s": "3600", "$__range": "1h", "$__interval": "15s"}


@dataclass(frozen=True)
class Metric:
    """A line of shared/src/metrics.rs."""

    name: str
    kind: str
    labels: tuple[str, ...]
    fleet: bool  # every API process tells the same: max, never sum


def metrics() -> dict[str, Metric]:
    """The list that programs make their metrics from, each histogram with its three series."""
    source = (ROOT / "shared" / "src" / "metrics.rs").read_text()
    line = re.compile(r'[A-Z_]+: Kind::(\w+)(?:\([A-Z_]+\))?, \w+, "(manimq_\w+)", \[([^\]]*)\],\s*"([^"]*)";')
    found = {}
    for kind, name, labels, text in line.findall(source):
        names = tuple(re.findall(r'"(\w+)"', labels))
        endings = {"Histogram": ("_bucket", "_sum", "_count")}.get(kind, ("",))
        whole = "use max" in text or name.startswith("manimq_queue_")
        for ending in endings:
            more = ("le",) if ending == "_bucket" else ()
            found[name + ending] = Metric(name + ending, kind, names + more, whole)
    return found


def recorded() -> set[str]:
    """Names that recording rules make."""
    return {rule["record"] for rule in rules() if "record" in rule}


def rules() -> list[dict]:
    """All rules, recording and alerting."""
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def substitute(expr: str, **variables: str) -> str:
    """The expression with Grafana's variables replaced, all others by a pattern that matches everything."""
    for name, value in {**GRAFANA, **{f"${key}": value for key, value in variables.items()}}.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$[a-z]+", ".*", expr)


def targets(dashboard: dict):
    """Each query of a dashboard: (what it belongs to, expression, the panel or annotation)."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"{dashboard['uid']}: {panel['title']} {target['refId']}", target["expr"], panel
    for annotation in dashboard["annotations"]["list"]:
        yield f"{dashboard['uid']}: annotation {annotation['name']}", annotation["expr"], annotation


def all_targets():
    """The queries of all dashboards."""
    for path in DASHBOARDS:
        yield from targets(json.loads(path.read_text()))


def nodes(expr, above=()):
    """Each node of a parsed expression, with those above it, outermost first."""
    yield expr, above
    below = (*above, expr)
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        child = getattr(expr, name, None)
        if isinstance(child, promql_parser.Expr) or type(child).__name__.endswith("Selector"):
            yield from nodes(child, below)
    for child in getattr(expr, "args", None) or ():
        yield from nodes(child, below)


def selectors(expr: str):
    """Each selector of an expression: (name, its matchers by label, the nodes above it)."""
    for node, above in nodes(promql_parser.parse(expr)):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = {matcher.name: matcher for matcher in node.matchers.matchers}
            yield node.name or "", matchers, above


def selector_text(name: str, matchers: dict) -> str:
    """A selector as it is written, of what `selectors` gives."""
    return name + "{" + ",".join(str(matcher) for matcher in matchers.values()) + "}"
