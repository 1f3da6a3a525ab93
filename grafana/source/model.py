"""What a dashboard is made of: panels, rows, variables, and their JSON.

Classic dashboard JSON, schema version 39: the oldest that the Grafana versions in use
(10.4 and newer) all read; newer ones migrate it forward, never backward.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
FOLDER_TAG = "manimq"
# What every selector carries, so that the two variables work on each panel.
SCOPE = ['job=~"$job"', 'instance=~"$instance"']

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


def matchers(first: list[str], more: dict[str, str]) -> str:
    """The part between the braces; a value with a variable or an alternative is a pattern, "!x" is all but x."""
    def one(label: str, value: str) -> str:
        if value.startswith("!"):
            return f'{label}!="{value[1:]}"'
        operator = "=~" if any(sign in value for sign in "$|.*+") else "="
        return f'{label}{operator}"{value}"'
    return ",".join([*first, *(one(label, value) for label, value in more.items())])


def sel(metric: str, **labels: str) -> str:
    """A selector of a metric that each process counts for itself."""
    return metric + "{" + matchers(SCOPE, labels) + "}"


def fleet(metric: str, **labels: str) -> str:
    """A selector of what every API process tells alike: whichever instance is chosen."""
    return metric + "{" + matchers(SCOPE[:1], labels) + "}"


def jobs(by: str = "", **labels: str) -> str:
    """Jobs in the queue, by lane or state, or all together."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (max by (lane, state) ({fleet('manimq_queue_jobs', **labels)}))"


def slots(**labels: str) -> str:
    """Slots of all live workers."""
    return f"sum(max by (state) ({fleet('manimq_fleet_slots', **labels)}))"


def rate(metric: str, **labels: str) -> str:
    """Per second, over an interval that fits the picture and the scrapes."""
    return f"rate({sel(metric, **labels)}[$__rate_interval])"


def total(metric: str, by: str = "", **labels: str) -> str:
    """The rate of a counter over all processes, per second."""
    group = f" by ({by})" if by else ""
    return f"sum{group} ({rate(metric, **labels)})"


def ended(by: str = "", **labels: str) -> str:
    """The rate of jobs that ended: those that some process settled, and those that the queue ended of itself."""
    group = f" by ({by})" if by else ""
    swept = f"rate({fleet('manimq_jobs_swept_total', **labels)}[$__rate_interval])"
    return f"sum{group} ({rate('manimq_jobs_finished_total', **labels)} or max by (lane, status, class) ({swept}))"


def shared() -> str:
    """The rate of accepted submits that another job's render, or its kept result, answered; of all lanes."""
    return f"sum(max by (mode) (rate({fleet('manimq_jobs_deduplicated_total')}[$__rate_interval])))"


def quantile(q: float, metric: str, by: str = "", **labels: str) -> str:
    """A quantile of a classic histogram, over all processes."""
    group = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({group}) ({rate(metric + '_bucket', **labels)}))"


def mean(metric: str, by: str = "", **labels: str) -> str:
    """The mean of a histogram; nothing where nothing was observed."""
    return f"{total(metric + '_sum', by, **labels)} / ({total(metric + '_count', by, **labels)} > 0)"


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    expr: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"

    def json(self, index: int) -> dict:
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": self.expr,
            "format": self.format,
            "instant": self.instant,
            "legendFormat": self.legend or "__auto",
            "range": not self.instant,
            "refId": chr(ord("A") + index),
        }


@dataclass
class Panel:
    """One picture with the question that it answers."""

    title: str
    description: str
    unit: str
    targets: list[Target]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    defaults: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    overrides: list = field(default_factory=list)
    transformations: list = field(default_factory=list)

    def json(self, number: int, x: int, y: int) -> dict:
        panel = {
            "datasource": DATASOURCE,
            "description": self.description,
            "fieldConfig": {"defaults": {"unit": self.unit, **self.defaults}, "overrides": self.overrides},
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "id": number,
            "options": self.options,
            "targets": [target.json(index) for index, target in enumerate(self.targets)],
            "title": self.title,
            "type": self.kind,
        }
        if self.transformations:
            panel["transformations"] = self.transformations
        return panel


def steps(*values: tuple[float | None, str]) -> dict:
    """Thresholds: (from here on, colour), the first one from None."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in values]}


def graph(title: str, description: str, unit: str, targets: list[Target], *, stack: bool = False,
          width: int = 8, line: float | None = None, maximum: float | None = None,
          mirror: str = "") -> Panel:
    """Lines over time. `line` draws a threshold, `mirror` turns series whose name matches upside down."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 35 if stack else 10,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stack else "none"},
    }
    defaults: dict = {"custom": custom, "min": 0}
    if line is not None:
        custom["thresholdsStyle"] = {"mode": "dashed"}
        defaults["thresholds"] = steps((None, GREEN), (line, RED))
    if maximum is not None:
        defaults["max"] = maximum
    overrides = []
    if mirror:
        del defaults["min"]
        overrides.append({
            "matcher": {"id": "byRegexp", "options": mirror},
            "properties": [{"id": "custom.transform", "value": "negative-Y"}],
        })
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(title, description, unit, targets, "timeseries", width, 8, defaults, options, overrides)


def stat(title: str, description: str, unit: str, targets: list[Target], thresholds: dict | None = None, *,
         width: int = 4, mappings: list | None = None, no_value: str = "", decimals: int | None = None) -> Panel:
    """One number, coloured by what it means."""
    defaults: dict = {"thresholds": thresholds or steps((None, BLUE)), "color": {"mode": "thresholds"}}
    if mappings:
        defaults["mappings"] = mappings
    if no_value:
        defaults["noValue"] = no_value
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "colorMode": "background" if mappings else "value",
        "graphMode": "none" if mappings else "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    return Panel(title, description, unit, targets, "stat", width, 4, defaults, options)


def heatmap(title: str, description: str, unit: str, metric: str, *, width: int = 8, **labels: str) -> Panel:
    """How a histogram's observations are spread, from its classic buckets."""
    expr = f"sum by (le) (increase({sel(metric + '_bucket', **labels)}[$__rate_interval]))"
    return raw_heatmap(title, description, unit, [Target(expr, "{{le}}", format="heatmap")], width=width)


def raw_heatmap(title: str, description: str, unit: str, targets: list[Target], *, width: int = 8) -> Panel:
    """A heatmap of series that are rows already."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "scheme": "Oranges", "steps": 64},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    defaults = {"custom": {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": {"type": "linear"}}}
    return Panel(title, description, "short", targets, "heatmap", width, 8, defaults, options)


def table(title: str, description: str, unit: str, columns: list[tuple[str, str]], *, width: int = 8,
          sort: str = "", units: dict[str, str] | None = None) -> Panel:
    """Rows by label, one column a query: (name of the column, expression)."""
    targets = [Target(expr, name, instant=True, format="table") for name, expr in columns]
    renamed = {f"Value #{chr(ord('A') + index)}" if len(columns) > 1 else "Value": name
               for index, (name, _) in enumerate(columns)}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": renamed}},
    ]
    overrides = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": value}]}
                 for name, value in (units or {}).items()]
    options = {"cellHeight": "sm", "footer": {"show": False}, "showHeader": True,
               "sortBy": [{"desc": True, "displayName": sort}] if sort else []}
    defaults = {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}}
    return Panel(title, description, unit, targets, "table", width, 8, defaults, options, overrides, transformations)


@dataclass(frozen=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: list[Panel]


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    description: str
    rows: list[Row]
    tags: tuple[str, ...] = ()
    variables: tuple[dict, ...] = ()
    span: str = "now-6h"

    def json(self) -> dict:
        return {
            "annotations": {"list": ANNOTATIONS},
            "description": self.description,
            "editable": False,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "id": None,
            "links": [LINKS],
            "panels": lay_out(self.rows),
            "refresh": "30s",
            "schemaVersion": SCHEMA_VERSION,
            "tags": [FOLDER_TAG, *self.tags],
            "templating": {"list": [*VARIABLES, *self.variables]},
            "time": {"from": self.span, "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
            "weekStart": "",
        }


def lay_out(rows: list[Row]) -> list[dict]:
    """Gives each panel a place, from left to right, and a number."""
    panels: list[dict] = []
    y = 0
    for row in rows:
        panels.append({
            "collapsed": False,
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
            "id": len(panels) + 1,
            "panels": [],
            "title": row.title,
            "type": "row",
        })
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > 24:
                x, y, tallest = 0, y + tallest, 0
            panels.append(panel.json(len(panels) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return panels


def query_variable(name: str, label: str, query: str, description: str, *, multi: bool = True) -> dict:
    """A variable whose values Prometheus knows; asked again whenever the time range changes."""
    variable = {
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if multi else {},
        "datasource": DATASOURCE,
        "definition": query,
        "description": description,
        "hide": 0,
        "includeAll": multi,
        "label": label,
        "multi": multi,
        "name": name,
        "options": [],
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }
    if multi:
        variable["allValue"] = ".*"
    return variable


VARIABLES = (
    {
        "current": {},
        "description": "The Prometheus that scrapes manimq.",
        "hide": 0,
        "includeAll": False,
        "label": "Data source",
        "multi": False,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "type": "datasource",
    },
    query_variable("job", "Job", 'label_values({__name__=~"manimq_build_info|redis_up"}, job)',
                   "Scrape job: API, workers, Redis exporter."),
    query_variable("instance", "Instance", 'label_values({__name__=~"manimq_build_info|redis_up", job=~"$job"}, instance)',
                   "One process. What the whole fleet has in common is shown whichever is chosen."),
    query_variable("lane", "Lane", 'label_values(manimq_queue_jobs{job=~"$job"}, lane)',
                   "Priority class of jobs."),
)

LINKS = {
    "asDropdown": True,
    "icon": "external link",
    "includeVars": True,
    "keepTime": True,
    "tags": [FOLDER_TAG],
    "targetBlank": False,
    "title": "manimq",
    "tooltip": "The other dashboards, same time and variables",
    "type": "dashboards",
    "url": "",
}

# A version that was not there five minutes ago. changes() of the gauge itself is always 0:
# another version is another series.
DEPLOY = ("count by (program, version) (manimq_build_info{job=~\"$job\"})"
          " unless count by (program, version) (manimq_build_info{job=~\"$job\"} offset 5m)")

ANNOTATIONS = [
    {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": DEPLOY,
        "hide": False,
        "iconColor": BLUE,
        "name": "Deploys",
        "step": "60s",
        "tagKeys": "program",
        "textFormat": "{{program}} {{version}}",
        "titleFormat": "New version",
    },
    {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": 'sum by (alertname, severity) (ALERTS{alertname=~"Manimq.+",alertstate="firing"})',
        "hide": False,
        "iconColor": RED,
        "name": "Alerts",
        "step": "60s",
        "tagKeys": "severity",
        "textFormat": "{{severity}}",
        "titleFormat": "{{alertname}}",
    },
]
