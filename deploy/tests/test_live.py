"""Every expression of the dashboards and the alerts, asked of a real Prometheus that watched a real manimq at work.

Programs, Redis with the users of the compose file, Redis exporter, Manim, sandboxes, Prometheus: all real, on loopback.
Set MANIMQ_DRAW to a folder to have the panels drawn there (deploy/draw-panels).
"""

import math
import os
import re
import shlex
import subprocess
import sys
import time
import unittest

from load import LONG, Load
from promql import ROOT, all_targets, rules, selector_text, selectors, substitute
from stack import PROGRAMS, Stack, free_port, until

# Expressions, by the beginning of their name, that have no data here, and why that is right.
RIGHTLY_EMPTY: dict[str, str] = {}
# The same for what alerts look at, by the selector.
RIGHTLY_EMPTY_OF_ALERTS: dict[str, str] = {}


def has_data(series: list[dict]) -> bool:
    return any(math.isfinite(float(value)) for one in series for _, value in one["values"])


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        began = time.monotonic()
        cls.stack = Stack().__enter__()
        cls.addClassCleanup(cls.stack.__exit__)
        stack, load = cls.stack, Load(cls.stack)
        load.tenant("limited", "--submits-per-minute", "1")
        load.tenant("ann")
        load.tenant("flood")
        load.webhook()
        load.usual()
        load.prompts()
        load.cancelled()
        load.flood()
        load.all_ended()
        cls.metrics_told, cls.top, cls.screen = load.held()
        load.drained()
        load.without_store()
        cls.dead = load.sandboxes_die()
        lost = load.worker_dies()
        cls.fired = until(lambda: DEAD <= (now := stack.alerts()) and now, f"{DEAD} fire")
        stack.start_worker()
        until(lambda: not DEAD & stack.alerts(), f"{DEAD} resolve")
        load.runs_again(lost)
        stack.admin("jobs", "cancel", lost)
        load.all_ended()
        cls.load = load
        # One more scrape of everything and one more evaluation.
        time.sleep(3)
        print(f"the load took {time.monotonic() - began:.0f} s", file=sys.stderr)

    def test_the_alert_for_the_dead_worker_fired_and_then_resolved(self):
        self.assertLessEqual(DEAD, self.fired)

    def test_every_expression_of_the_dashboards_has_data_or_is_rightly_empty(self):
        listed = set()
        for where, expr, _ in all_targets():
            with self.subTest(where):
                reason = next((key for key in RIGHTLY_EMPTY if where.startswith(key)), None)
                listed.add(reason)
                series = self.stack.over_time(self.substitute(expr))
                if reason:
                    self.assertFalse(has_data(series), "it has data: take it off the list")
                else:
                    self.assertTrue(has_data(series), f"no data: {expr}")
        self.assertEqual(set(RIGHTLY_EMPTY) - listed, set(), "no expression is called so")

    def substitute(self, expr: str) -> str:
        expr = expr.replace("$__rate_interval", "10s").replace("$__range_s", "120").replace("$__range", "2m")
        return substitute(expr, tenant="flood|limited|default")

    def test_all_rules_are_evaluated_without_errors(self):
        for group in self.stack.ask("rules")["groups"]:
            for rule in group["rules"]:
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])

    def test_what_the_alerts_look_at_is_there(self):
        asked = {selector_text(name, matchers): rule["alert"] for rule in rules() if "alert" in rule
                 for name, matchers, _ in selectors(rule["expr"])}
        self.assertEqual(set(RIGHTLY_EMPTY_OF_ALERTS) - set(asked), set(), "no alert asks so")
        for selector, alert in asked.items():
            with self.subTest(alert, selector=selector):
                found = has_data(self.stack.over_time(selector))
                self.assertNotEqual(found, selector in RIGHTLY_EMPTY_OF_ALERTS)

    def test_no_program_was_denied_anything_by_the_users_of_redis(self):
        self.assertEqual(self.stack.redis("acl", "log").strip(), "")

    def test_top_shows_the_numbers_of_the_metrics(self):
        def told(name: str, label: str, **more: str) -> dict[str, float]:
            """A metric's samples with these labels, by another label."""
            found = {}
            for labels, value in re.findall(rf"^{name}\{{([^}}]*)\}} (\S+)$", self.metrics_told, re.M):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                if labels.items() >= more.items():
                    found[labels[label]] = float(value)
            return found
        for state in ("waiting", "running"):
            lanes = told("manimq_queue_jobs", "lane", state=state)
            # In the lane normal a canary may come and go between the two looks.
            self.assertEqual({lane: lanes[lane] for lane in ("returned", "interactive", "batch")},
                             {lane["lane"]: lane[state] for lane in self.top["lanes"] if lane["lane"] != "normal"})
            tenants = {name: jobs for name, jobs in told(f"manimq_tenant_jobs_{state}", "tenant").items() if name != "other"}
            self.assertEqual(tenants, {tenant["tenant"]: tenant[state] for tenant in self.top["tenants"]})
        self.assertIn(self.top["queue"]["jobs"]["ready"], (3, 4))
        self.assertTrue(self.top["queue"]["paused"]["all"])
        self.assertEqual(sum(told("manimq_fleet_slots", "state").values()), self.top["queue"]["slots"]["total"])
        self.assertEqual(told("manimq_fleet_workers", "state")["active"], len(self.top["workers"]))

    def test_top_draws_its_numbers_in_a_terminal_and_gives_it_back(self):
        for shown in (r"jobs 0 running [34] waiting", r"of 2 slots busy", r"paused: everything", r"interactive 0 1 \d", r"batch 0 2 \d",
                      r"ann 0 2 0 \d", r"flood 0 1 0 \d", r"canary [\d.]+ s ago"):
            self.assertRegex(self.screen, shown)

    def test_the_commands_of_the_runbook_work_on_a_running_system(self):
        text = (ROOT / "deploy" / "RUNBOOK.md").read_text()
        # Those in blocks and those within sentences, as they come.
        ours = r"(?:manimq-worker verify|manimq (?:admin|doctor|top)|redis-cli)\b[^`\n]*"
        commands = list(dict.fromkeys(re.findall(rf"(?:^|`)({ours})(?:$|`)", text, re.M)))
        self.assertGreater(len(commands), 30)
        # What would take a dead letter from the others comes last.
        commands.sort(key=lambda one: ("redrive" in one and "dry-run" not in one, ))
        url = self.stack.settings["operator"]["REDIS_URL"]
        worker = {"MANIMQ_PYTHON_ENV": os.environ.get("MANIMQ_PYTHON_ENV", str(ROOT / ".manimq" / "python")),
                  "MANIMQ_RENDERER_DIR": str(ROOT / "worker" / "renderer")}
        for command in commands:
            with self.subTest(command):
                tenant = "default" if "dead" in command else "ann"
                job = self.load.submit(LONG)["id"] if "cancel" in command else self.dead[0]
                words = [{"TENANT": tenant, "JOB": job, "$REDIS_URL": url}.get(word, word) for word in shlex.split(command)]
                if command == "manimq top":
                    words.append("--once")
                if words[0].startswith("manimq"):
                    words[0] = PROGRAMS / words[0]
                # Files are looked at where the API's settings are, all else with the operator's.
                settings = self.stack.settings["api"] if "storage" in command else {"REDIS_URL": url, "MANIMQ_API_KEY": self.stack.key}
                done = self.stack.run(words, MANIMQ_SERVER=self.stack.api, MANIMQ_DATA_DIR=str(self.stack.work / "data"), **worker, **settings)
                said = done.stdout + done.stderr
                self.assertEqual(done.returncode, 0, said)
                self.assertNotRegex(said, "NOPERM|^ERR", said)
        # What was redriven draws for minutes.
        for job in self.stack.admin("jobs", "list")["jobs"]:
            self.stack.admin("jobs", "cancel", job["id"])
        self.stack.admin("resume", "--tenant", "ann")

    def test_the_workers_user_reads_no_keys_of_the_api(self):
        worker = self.stack.settings["worker"]["REDIS_URL"]
        for command in (("hgetall", "{mq:acc}:t:ann"), ("keys", "*"), ("config", "set", "maxmemory", "1"), ("flushall",)):
            done = subprocess.run(["redis-cli", "-u", worker, "--no-auth-warning", *command], capture_output=True, text=True)
            self.assertIn("NOPERM", done.stdout + done.stderr, command)
        self.stack.redis("acl", "log", "reset")

    def test_an_operator_changes_limits_of_redis_but_not_where_it_writes(self):
        url = self.stack.settings["operator"]["REDIS_URL"]
        for command, answer in (("maxmemory", "1gb"), "OK"), (("dir", "/tmp"), "protected"), (("dbfilename", "x"), "protected"):
            done = self.stack.run(["redis-cli", "-u", url, "--no-auth-warning", "config", "set", *command])
            self.assertIn(answer, done.stdout + done.stderr, command)

    def test_our_numbers_and_those_of_the_redis_exporter_agree(self):
        ours = 'sum(max by (lane, state) (manimq_queue_jobs{state="running"}))'
        theirs = 'sum(redis_key_size{key="{mq:0}:lease"})'
        until(lambda: self.value(ours) == self.value(theirs), "as many running jobs as leases", 20)

    def value(self, expr: str) -> float:
        result = self.stack.ask("query", query=expr)["result"]
        return float(result[0]["value"][1]) if result else math.nan

    def test_the_health_check_of_the_images_tells_well_from_unwell(self):
        check = ROOT / "deploy" / "images" / "healthy"
        for part in ("api", "worker"):
            port = str(self.stack.ports[part])
            self.assertEqual(subprocess.run([check, port, "/healthz"], capture_output=True).returncode, 0, part)
            self.assertNotEqual(subprocess.run([check, port, "/no-such-page"], capture_output=True).returncode, 0, part)
        self.assertNotEqual(subprocess.run([check, str(free_port()), "/healthz"], capture_output=True).returncode, 0)

    def test_the_panels_can_be_drawn(self):
        folder = os.environ.get("MANIMQ_DRAW") or str(self.stack.work / "panels")
        python = os.environ.get("MANIMQ_PYTHON_ENV", str(ROOT / ".manimq" / "python")) + "/bin/python"
        done = subprocess.run([python, ROOT / "deploy" / "draw-panels", "--prometheus", self.stack.prometheus, "--out", folder,
                               "--from", f"{self.stack.began:.0f}", "--tenant", "flood", "--rate-interval", "10s"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len([name for name in os.listdir(folder) if name.endswith(".png")]), 6)


DEAD = {"ManimqNoWorkers", "ManimqWorkerDown"}

if __name__ == "__main__":
    unittest.main()
