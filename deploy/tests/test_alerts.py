"""Alerts are sound, tested both ways, agree with the dashboards, and have a section of the runbook whose commands exist."""

import os
import re
import shlex
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

from promql import ROOT, metrics, recorded, rules, selectors

sys.path.insert(0, str(ROOT / "grafana"))
from source import names  # noqa: E402

PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text()
PROGRAMS = Path(os.environ.get("MANIMQ_PROGRAMS", ROOT / "target" / "debug"))
ALERTS = [rule for rule in rules() if "alert" in rule]
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.M | re.S))


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


class Rules(unittest.TestCase):
    def test_prometheus_takes_its_configuration_and_the_rules(self):
        status, output = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
        self.assertEqual(status, 0, output)
        status, output = run("promtool", "check", "rules", "--lint-fatal", *sorted(PROMETHEUS.glob("rules/*.yml")))
        self.assertEqual(status, 0, output)

    def test_the_rules_do_what_their_tests_say(self):
        status, output = run("promtool", "test", "rules", *sorted(PROMETHEUS.glob("tests/*.yml")))
        self.assertEqual(status, 0, output)

    def test_the_alertmanager_takes_the_example(self):
        status, output = run("amtool", "check-config", PROMETHEUS / "alertmanager.yml")
        self.assertEqual(status, 0, output)

    def test_each_alert_is_tested_to_fire_and_to_be_silent(self):
        fires, silent = set(), set()
        for path in PROMETHEUS.glob("tests/*.yml"):
            for group in yaml.safe_load(path.read_text())["tests"]:
                for check in group["promql_expr_test"]:
                    name, = re.findall(r'alertname="(\w+)"', check["expr"])
                    (fires if check["exp_samples"] else silent).add((name, *severity(check)))
        self.assertEqual({alert["alert"] for alert in ALERTS}, {name for name, *_ in silent})
        self.assertEqual({(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS}, fires)

    def test_each_says_how_grave_it_is_what_is_wrong_and_where_to_read_on(self):
        for alert in ALERTS:
            with self.subTest(alert["alert"]):
                self.assertIn(alert["labels"]["severity"], ("page", "ticket", "security"))
                self.assertGreater(len(alert["annotations"]["summary"]), 20)
                self.assertEqual(alert["annotations"]["runbook"], f"deploy/RUNBOOK.md#{alert['alert'].lower()}")
                uid = alert["annotations"]["dashboard"].removeprefix("/d/manimq-")
                self.assertTrue((ROOT / "grafana" / "dashboards" / "manimq" / f"{uid}.json").exists(), uid)

    def test_metrics_and_labels_of_the_rules_exist(self):
        known = metrics()
        for rule in rules():
            for name, matchers, _ in selectors(rule["expr"]):
                if name.startswith("redis_") or name in recorded() or name == "up":
                    continue
                with self.subTest(rule.get("alert") or rule["record"], metric=name):
                    self.assertIn(name, known)
                    self.assertLessEqual(set(matchers), set(known[name].labels))

    def test_dashboards_and_rules_mean_the_same_by_our_faults_and_late(self):
        text = (PROMETHEUS / "rules" / "recording.yml").read_text()
        self.assertEqual(set(re.findall(r'class=~"([^"]+)"', text)), {names.OURS})
        self.assertEqual(set(re.findall(r'le="([^"]+)"', text)), {f"{names.PICKUP_TARGET_S:g}"})
        source = (ROOT / "shared" / "src" / "job" / "failure.rs").read_text()
        ours = re.search(r"=> false,\s*(.*?)=> true", source, re.S)[1]
        variants = dict(re.findall(r'(\w+) = "(\w+)"', source))
        self.assertEqual({variants[name] for name in re.findall(r"Self::(\w+)", ours)}, set(names.OURS.split("|")))
        buckets = re.search(r"WAIT_S: &\[f64\] = &\[(.*?)\]", (ROOT / "shared" / "src" / "metrics.rs").read_text(), re.S)[1]
        self.assertIn(names.PICKUP_TARGET_S, [float(bound) for bound in re.findall(r"[\d.]+", buckets)])


class Runbook(unittest.TestCase):
    def test_each_alert_has_a_section_and_each_section_an_alert(self):
        self.assertEqual(set(SECTIONS), {alert["alert"] for alert in ALERTS})
        for alert in ALERTS:
            self.assertIn(f"**{alert['labels']['severity']}", SECTIONS[alert["alert"]])

    def test_its_commands_exist_with_their_options(self):
        commands = re.findall(r"^(manimq(?:-worker)? .*)$", "\n".join(re.findall(r"^```\n(.*?)^```", RUNBOOK, re.M | re.S)), re.M)
        commands += [text for text in re.findall(r"`(manimq(?:-worker)? [^`]+)`", RUNBOOK)]
        self.assertGreater(len(commands), 20)
        for command in sorted(set(commands)):
            with self.subTest(command):
                words = shlex.split(command)
                way = [word for word in words[1:] if re.fullmatch("[a-z]+", word)]
                # Values such as `batch` come after an option.
                way = way[:next((index for index, word in enumerate(words[1:]) if word.startswith("-")), len(way))]
                status, text = run(PROGRAMS / words[0], *way, "--help")
                self.assertEqual(status, 0, text)
                self.assertIn(f"Usage: {words[0]} {' '.join(way)}", text)
                for option in (word for word in words if word.startswith("--")):
                    self.assertTrue(re.search(rf"{option}\b", text), f"{option} is no option of it")

    def test_dashboards_and_panels_that_it_names_exist(self):
        panels = "\n".join(path.read_text() for path in (ROOT / "grafana" / "dashboards" / "manimq").glob("*.json"))
        for title in re.findall(r'"([A-Z][^"\n]+)"', RUNBOOK):
            self.assertRegex(panels, rf'"title": "{re.escape(title)}', title)

    def test_settings_that_it_names_exist(self):
        helps = "".join(run(PROGRAMS / program, part, "--help")[1] for program, part in (("manimq", "serve"), ("manimq-worker", "run")))
        for name in set(re.findall(r"\bMANIMQ_[A-Z_]+", RUNBOOK)):
            self.assertTrue(name in helps, f"{name} is no setting of manimq serve or manimq-worker run")


def severity(check):
    """The severity that a firing sample must have."""
    return re.findall(r'severity="(\w+)"', check["exp_samples"][0]["labels"]) if check["exp_samples"] else ()


if __name__ == "__main__":
    unittest.main()
