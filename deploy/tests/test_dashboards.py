"""The dashboards are what their source says, keep the rules of good ones, and ask for metrics that exist."""

import json
import re
import subprocess
import sys
import unittest

import promql_parser
import yaml

from promql import DASHBOARDS, ROOT, all_targets, metrics, recorded, rules, selectors, substitute, targets

NOT_OURS = re.compile(r"redis_|ALERTS$|up$")
FROM_SCRAPES = {"job", "instance"}
UNITS = {"none", "short", "percentunit", "s", "µs", "bytes", "Bps", "cpm", "cps", "reqps"}


def every(check):
    """Calls a test's check with each dashboard, and says which one failed."""
    def test(self):
        for path in DASHBOARDS:
            with self.subTest(path.name):
                check(self, json.loads(path.read_text()))
    return test


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


class Dashboards(unittest.TestCase):
    maxDiff = None

    def test_the_files_are_what_their_source_says(self):
        done = subprocess.run([sys.executable, ROOT / "grafana" / "generate.py", "--check"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_there_are_six_with_uids_titles_and_tags_of_their_own(self):
        all_of_them = [json.loads(path.read_text()) for path in DASHBOARDS]
        self.assertEqual(len(all_of_them), 6)
        for what in ("uid", "title", "description"):
            self.assertEqual(len({dashboard[what] for dashboard in all_of_them}), 6, what)
        self.assertTrue(all("manimq" in dashboard["tags"] for dashboard in all_of_them))

    @every
    def test_nobody_edits_them_and_the_oldest_supported_grafana_reads_them(self, dashboard):
        self.assertFalse(dashboard["editable"])
        self.assertEqual(dashboard["schemaVersion"], 39)
        self.assertIsNone(dashboard["id"])
        self.assertNotIn("__inputs", dashboard)

    @every
    def test_it_refreshes_every_half_minute_and_links_to_the_others(self, dashboard):
        self.assertEqual(dashboard["refresh"], "30s")
        (link,) = dashboard["links"]
        self.assertEqual((link["type"], link["tags"], link["keepTime"], link["includeVars"]),
                         ("dashboards", ["manimq"], True, True))

    @every
    def test_its_variables_are_there_and_asked_again_when_the_time_range_changes(self, dashboard):
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        self.assertLessEqual({"datasource", "job", "instance", "lane"}, set(variables))
        self.assertEqual(variables["datasource"]["type"], "datasource")
        self.assertEqual(variables["datasource"]["query"], "prometheus")
        for name in ("job", "instance", "lane"):
            self.assertTrue(variables[name]["multi"] and variables[name]["includeAll"], name)
        for variable in variables.values():
            self.assertTrue(variable["label"] and variable["description"], variable["name"])
            if variable["type"] == "query":
                self.assertEqual(variable["refresh"], 2, variable["name"])
                self.assertEqual(variable["datasource"]["uid"], "${datasource}", variable["name"])

    @every
    def test_deploys_and_alerts_are_marked(self, dashboard):
        marks = {mark["name"]: mark for mark in dashboard["annotations"]["list"]}
        self.assertEqual(set(marks), {"Deploys", "Alerts"})
        self.assertTrue(all(mark["enable"] and mark["datasource"]["uid"] == "${datasource}" for mark in marks.values()))

    @every
    def test_each_panel_has_a_title_a_description_a_unit_and_queries(self, dashboard):
        for panel in panels(dashboard):
            with self.subTest(panel["title"]):
                self.assertTrue(panel["title"])
                self.assertGreater(len(panel["description"]), 15)
                self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS)
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                if panel["type"] == "text":
                    continue
                self.assertTrue(panel["targets"])
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"]["uid"], "${datasource}")
                    self.assertTrue(target["legendFormat"])

    @every
    def test_titles_and_numbers_of_panels_are_unique(self, dashboard):
        for what in ("title", "id"):
            seen = [panel[what] for panel in dashboard["panels"]]
            self.assertEqual(sorted(seen), sorted(set(seen)))

    @every
    def test_panels_do_not_overlap_and_fit_the_width(self, dashboard):
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(taken & cells, panel["title"])
            taken |= cells

    @every
    def test_each_expression_is_promql_and_heatmaps_come_from_buckets(self, dashboard):
        for where, expr, panel in targets(dashboard):
            with self.subTest(where):
                promql_parser.parse(substitute(expr))
                if panel.get("type") == "heatmap" and "_bucket" in expr and "histogram_quantile" not in expr:
                    self.assertIn("by (le)", expr)
                    self.assertEqual(panel["targets"][0]["format"], "heatmap")

    @every
    def test_rates_follow_the_picture_and_spans_are_named(self, dashboard):
        for where, expr, _ in targets(dashboard):
            with self.subTest(where):
                self.assertNotIn("$__interval", expr)
                for function, span in re.findall(r"\b(rate|irate|increase)\([^\[]*\[([^\]]+)\]", expr):
                    if function != "increase":
                        self.assertEqual(span, "$__rate_interval")


class Expressions(unittest.TestCase):
    def setUp(self):
        self.metrics = metrics()
        self.recorded = recorded()

    def test_the_list_of_metrics_is_read(self):
        self.assertGreater(len(self.metrics), 60)
        self.assertTrue(self.metrics["manimq_queue_jobs"].fleet)
        self.assertEqual(self.metrics["manimq_queue_jobs"].labels, ("lane", "state"))

    def on_each_selector(self, check):
        """Calls check(name, matchers, nodes above, whether it belongs to an annotation)."""
        for where, expr, _ in all_targets():
            for name, matchers, above in selectors(substitute(expr, job="JOB", instance="INSTANCE")):
                with self.subTest(where, metric=name):
                    check(name, matchers, above, "annotation" in where)

    def test_each_metric_exists_and_has_the_labels_that_are_asked_for(self):
        def check(name, matchers, above, _):
            if NOT_OURS.match(name) or name in self.recorded:
                return
            self.assertIn(name, self.metrics)
            known = set(self.metrics[name].labels) | FROM_SCRAPES
            self.assertLessEqual(set(matchers), known)
            # The labels of the innermost aggregation; those further out see what it left.
            inner = [node for node in above if isinstance(node, promql_parser.AggregateExpr)]
            if inner and inner[-1].modifier and inner[-1].modifier.type == promql_parser.AggModifierType.By:
                self.assertLessEqual(set(inner[-1].modifier.labels), known)
        self.on_each_selector(check)

    def test_jobs_that_the_queue_ended_of_itself_are_among_those_that_ended(self):
        asked = [(where, expr) for where, expr, _ in all_targets()] + [(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]
        for where, expr in asked:
            # An attempt that its worker lost is no sign that jobs get done.
            if "manimq_jobs_finished_total" in expr and where != "ManimqQueueStalled":
                with self.subTest(where):
                    self.assertEqual(expr.count("manimq_jobs_finished_total{"), expr.count("manimq_jobs_swept_total{"))

    def test_the_variables_job_and_instance_work_on_each_panel(self):
        def check(name, matchers, _, annotation):
            if name == "ALERTS" or name in self.recorded:
                return
            self.assertEqual(matchers["job"].value, "JOB")
            # Of what the whole fleet has in common one process must not be chosen by accident.
            whole = name.startswith("redis_") or self.metrics[name].fleet or annotation
            self.assertEqual("instance" in matchers, not whole)
            if not whole:
                self.assertEqual(matchers["instance"].value, "INSTANCE")
        self.on_each_selector(check)

    def test_counters_are_rates_and_aggregated(self):
        def check(name, _, above, __):
            if not (name.endswith("_total") or name in self.metrics and self.metrics[name].kind == "Histogram"):
                return
            calls = {node.func.name for node in above if isinstance(node, promql_parser.Call)}
            self.assertTrue({"rate", "increase"} & calls, calls)
            self.assertTrue(any(isinstance(node, promql_parser.AggregateExpr) for node in above))
        self.on_each_selector(check)

    def test_what_every_api_process_tells_alike_is_never_added_up(self):
        def check(name, _, above, __):
            if name in self.metrics and self.metrics[name].fleet:
                inner = [node for node in above if isinstance(node, promql_parser.AggregateExpr)][-1]
                self.assertIn(str(inner.op), ("max", "min"))
        self.on_each_selector(check)

    def test_every_metric_is_on_some_dashboard(self):
        used = {name for _, expr, _ in all_targets() for name, _, _ in selectors(substitute(expr))}
        shown = {re.sub("_(bucket|sum|count)$", "", name) for name in used}
        missing = {re.sub("_(bucket|sum|count)$", "", name) for name in self.metrics} - shown
        self.assertEqual(missing, set())


class Provisioning(unittest.TestCase):
    def test_data_source_and_folder_are_fixed(self):
        folder = ROOT / "grafana" / "provisioning"
        (source,) = yaml.safe_load((folder / "datasources" / "manimq.yaml").read_text())["datasources"]
        self.assertEqual((source["uid"], source["type"], source["editable"]), ("manimq-prometheus", "prometheus", False))
        (provider,) = yaml.safe_load((folder / "dashboards" / "manimq.yaml").read_text())["providers"]
        self.assertFalse(provider["allowUiUpdates"])
        self.assertTrue(provider["disableDeletion"] and provider["options"]["foldersFromFilesStructure"])

    def test_the_rate_interval_follows_from_the_scrapes(self):
        prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
        folder = ROOT / "grafana" / "provisioning"
        (source,) = yaml.safe_load((folder / "datasources" / "manimq.yaml").read_text())["datasources"]
        self.assertEqual(source["jsonData"]["timeInterval"], prometheus["global"]["scrape_interval"])


if __name__ == "__main__":
    unittest.main()
