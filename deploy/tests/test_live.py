"""Every expression of the dashboards and the alerts, asked of a real Prometheus that watched a real manimq at work.

Programs, Redis with the users of the compose file, Redis exporter, Manim, sandboxes, Prometheus: all real, on loopback.
Set MANIMQ_DRAW to a folder to have the panels drawn there (deploy/draw-panels).
"""

import math
import os
import subprocess
import sys
import time
import unittest

from load import Load
from promql import ROOT, all_targets, rules, selectors, substitute
from stack import Stack, free_port, until

# Expressions, by the beginning of their name, that have no data here, and why that is right.
RIGHTLY_EMPTY: dict[str, str] = {}


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
        load.drained()
        load.without_store()
        load.sandboxes_die()
        lost = load.worker_dies()
        cls.fired = until(lambda: DEAD <= (now := stack.alerts()) and now, f"{DEAD} fire")
        stack.start_worker()
        until(lambda: not DEAD & stack.alerts(), f"{DEAD} resolve")
        until(lambda: [one.get("outcome") for one in load.get("default", lost)["attempts"]] == ["lost_lease", None], "it runs again")
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
        expr = expr.replace("$__rate_interval", "10s").replace("$__range", "2m")
        return substitute(expr, tenant="flood|limited")

    def test_all_rules_are_evaluated_without_errors(self):
        for group in self.stack.ask("rules")["groups"]:
            for rule in group["rules"]:
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])

    def test_what_the_alerts_look_at_is_there(self):
        for rule in rules():
            if "alert" not in rule:
                continue
            for name, _, _ in selectors(rule["expr"]):
                with self.subTest(rule["alert"], metric=name):
                    self.assertTrue(has_data(self.stack.over_time(name)))

    def test_no_program_was_denied_anything_by_the_users_of_redis(self):
        self.assertEqual(self.stack.redis("acl", "log").strip(), "")

    def test_the_workers_user_reads_no_keys_of_the_api(self):
        worker = self.stack.settings["worker"]["REDIS_URL"]
        for command in (("hgetall", "{mq:acc}:t:ann"), ("keys", "*"), ("config", "set", "maxmemory", "1"), ("flushall",)):
            done = subprocess.run(["redis-cli", "-u", worker, "--no-auth-warning", *command], capture_output=True, text=True)
            self.assertIn("NOPERM", done.stdout + done.stderr, command)
        self.stack.redis("acl", "log", "reset")

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
