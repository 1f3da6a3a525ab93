"""schemathesis, which reads the API's own description, against a real API process with a real Redis.

It sends what the description allows and what it forbids to every route, and checks that each answer is one that is
described. MANIMQ_SOAK_SCHEMA=N: N examples per route and another seed each time, in place of a few and always the same.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stack import PROGRAMS, Stack, fetch

SOAK = int(os.environ.get("MANIMQ_SOAK_SCHEMA", "0"))
SEED = secrets.randbelow(1 << 31) if SOAK else 20261122
# Examples per route of what is random; the corner cases of every parameter and field come always.
EXAMPLES = SOAK or 10
# Far more than it takes.
LIMIT_S = 900 + SOAK * 60
# Checks that are wrong for a route, each with its reason.
CONFIG = Path(__file__).with_name("schemathesis.toml")


class Receiver(BaseHTTPRequestHandler):
    """Takes the calls of webhooks."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(Stack):
    """An API process with a Redis of its own, and nothing else."""

    def start_all(self):
        here = f"127.0.0.1:{self.ports['redis']}"
        self.start("redis", ["redis-server", "--bind", "127.0.0.1", "--port", self.ports["redis"], "--save", "",
                             "--maxmemory-policy", "noeviction", "--dir", self.work])
        self.environment = {"REDIS_URL": f"redis://{here}/0"}
        self.key = secrets.token_hex(20)
        self.api = f"http://127.0.0.1:{self.ports['api']}"
        self.start("api", [PROGRAMS / "manimq", "serve"], {
            **self.environment, "MANIMQ_LISTEN": self.api.removeprefix("http://"), "MANIMQ_METRICS_LISTEN": "127.0.0.1:0",
            "MANIMQ_DATA_DIR": str(self.work / "data"), "MANIMQ_API_KEY": self.key,
            "MANIMQ_RATE_PER_KEY": "0", "MANIMQ_WEBHOOK_ALLOW": "127.0.0.0/8"})
        self.ready("api", f"{self.api}/healthz")

    def __enter__(self):
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def admin(self, *words: str) -> dict:
        done = subprocess.run([PROGRAMS / "manimq", "admin", *words, "--json"], capture_output=True, text=True, cwd=self.work,
                              env={"PATH": os.environ["PATH"], **self.environment}, timeout=60)
        if done.returncode:
            raise AssertionError(f"manimq admin {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


class Described(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server().__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        cls.receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=cls.receiver.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.receiver.shutdown)
        cls.api = cls.server.api
        status, cls.document = fetch(f"{cls.api}/openapi.json")
        assert status == 200, cls.document
        # What the description cannot know: this server has keys.
        cls.document["security"] = [{"key": []}]
        (cls.server.work / "openapi.json").write_text(json.dumps(cls.document))

    def examine(self, key: str, admin: bool):
        work = self.server.work / ("admin" if admin else "jobs")
        work.mkdir()
        (work / CONFIG.name).write_text(CONFIG.read_text())
        began = time.monotonic()
        command = ["st", "--no-color", "run", str(self.server.work / "openapi.json"), "--url", self.api,
                   "--header", f"Authorization: Bearer {key}", "--seed", str(SEED), "--max-examples", str(EXAMPLES),
                   "--request-timeout", "60", "--generation-database", "none", "--continue-on-failure",
                   "--include-tag" if admin else "--exclude-tag", "admin"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=work, env={
            **os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(Path(__file__).parent),
            "MANIMQ_RECEIVER": f"http://127.0.0.1:{self.receiver.server_port}/", "HOME": str(work)})
        said = done.stdout + done.stderr
        print(f"schemathesis, seed {SEED}: {time.monotonic() - began:.0f} s; " + " ".join(re.findall(r"\d+ generated.*", said)), file=sys.stderr)
        self.assertEqual(done.returncode, 0, f"seed {SEED}\n{said}")
        # All routes of the kind, save the two endless ones.
        asked = sum(("admin" in operation["tags"]) == admin for item in self.document["paths"].values() for operation in item.values())
        tested = int(re.search(r"Tested: (\d+)", said)[1])
        self.assertEqual(tested, asked if admin else asked - 2, said)

    def test_every_answer_to_a_tenant_is_one_that_is_described(self):
        self.server.admin("tenants", "create", "schema")
        key = self.server.admin("keys", "create", "schema")["key"]
        self.examine(key, admin=False)

    def test_every_answer_to_an_operator_is_one_that_is_described(self):
        self.examine(self.server.key, admin=True)

    def test_the_process_is_well_afterwards(self):
        self.assertEqual(fetch(f"{self.api}/healthz")[0], 200)
        self.assertNotIn("panicked", self.server.log("api"))


if __name__ == "__main__":
    unittest.main()
