"""The whole of manimq on loopback with Debian's Prometheus and Redis exporter, for a test; nothing of it outlives it.

Redis runs with the configuration and the users of deploy/compose.yaml: each program has its own user, as there.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from promql import ROOT

PROGRAMS = Path(os.environ.get("MANIMQ_PROGRAMS", ROOT / "target" / "debug"))
DEPLOY = ROOT / "deploy"
SCRAPE_S = 1
# A wait that takes longer than this is a failure. Waits end with their state, mostly at once.
WAIT_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(state, what: str, limit_s: float = 0):
    """Waits until state() is true, and gives what it gave."""
    limit_s = limit_s or WAIT_S
    end = time.monotonic() + limit_s
    while True:
        seen = state()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.1)


LIBC = ctypes.CDLL(None)


def die_with_parent():
    """In a child: the kernel kills it when this process dies, however."""
    LIBC.prctl(1, signal.SIGKILL)


def fetch(url: str, body: dict | None = None, key: str = "", headers: dict | None = None, method: str | None = None):
    """Status and body of an answer; JSON is read."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json", **(headers or {})},
                                     method=method)
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text, kind = answer.status, answer.read(), answer.headers.get("content-type", "")
    except urllib.error.HTTPError as error:
        status, text, kind = error.code, error.read(), error.headers.get("content-type", "")
    return status, json.loads(text) if "json" in kind and text else text


class Stack:
    """Everything, started in order, each waited for."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="manimq-live-", ignore_cleanup_errors=True)
        self.work = Path(self.folder.name)
        self.processes: dict[str, subprocess.Popen] = {}
        self.ports = {name: free_port() for name in ("redis", "exporter", "api", "api_metrics", "worker", "prometheus", "model")}
        self.settings: dict[str, dict[str, str]] = {}
        self.began = time.time()

    def __enter__(self):
        try:
            self.start_redis()
            self.start_api()
            self.start_worker()
            self.start_prometheus()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in reversed(list(self.processes)):
            self.stop(name)
        self.folder.cleanup()

    # --- Processes ------------------------------------------------------------------------------

    def start(self, name: str, command: list, environment: dict | None = None, cwd: Path | None = None):
        log = open(self.work / f"{name}.log", "ab")
        keep = {key: value for key, value in os.environ.items()
                if not key.startswith(("MANIMQ_", "REDIS_", "AWS_", "OTEL_", "BL_", "BLAXEL_"))}
        self.processes[name] = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=cwd or self.work,
            env={**keep, **(environment or {})}, start_new_session=True, preexec_fn=die_with_parent)
        log.close()

    def stop(self, name: str, how: int = signal.SIGTERM):
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill_children(self, name: str):
        """Kills what a program has started, and not itself."""
        pid = self.processes[name].pid
        for thread in Path(f"/proc/{pid}/task/").glob("*/children"):
            # Threads and children come and go meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for one in thread.read_text().split():
                    os.kill(int(one), signal.SIGKILL)

    def log(self, name: str) -> str:
        return (self.work / f"{name}.log").read_text(errors="replace")

    def ready(self, name: str, url: str):
        """Waits until a program answers with 200."""
        def answers():
            if self.processes[name].poll() is not None:
                raise AssertionError(f"{name} ended:\n{self.log(name)[-3000:]}")
            try:
                return fetch(url)[0] == 200
            except OSError:
                return False
        until(answers, f"{name} answers at {url}")

    # --- Parts ----------------------------------------------------------------------------------

    def start_redis(self):
        secrets = self.work / "secrets"
        subprocess.run([DEPLOY / "compose-secrets", secrets], check=True, stdout=subprocess.DEVNULL)
        acl = secrets / "users.acl"
        # Redis before 7.2 does not know the command, and refuses a list that names it.
        version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
        if "v=7.0" in version:
            acl.write_text(acl.read_text().replace(" +waitaof", ""))
        self.root_password = "root-of-the-test"
        with acl.open("a") as file:
            file.write(f"user root on >{self.root_password} ~* &* +@all\n")
        here = f"127.0.0.1:{self.ports['redis']}"
        for path in secrets.iterdir():
            path.write_text(path.read_text().replace("redis:6379", here))
        for role in ("api", "operator", "worker"):
            # As in a container: the secret is the .env of the working folder.
            (self.work / role).mkdir()
            text = (secrets / f"{role}.env").read_text()
            (self.work / role / ".env").write_text(text)
            self.settings[role] = dict(line.split("=", 1) for line in text.splitlines())
        self.start("redis", ["redis-server", DEPLOY / "redis" / "redis.conf", "--bind", "127.0.0.1", "--port", self.ports["redis"],
                             "--dir", self.work, "--aclfile", acl])
        # As the compose file's health check asks.
        until(lambda: "PONG" in self.redis("--user", "health", "--pass", "x", "ping"), "Redis answers")
        self.start("exporter", ["prometheus-redis-exporter", "-web.listen-address", f"127.0.0.1:{self.ports['exporter']}"], {
            "REDIS_ADDR": f"redis://{here}", "REDIS_USER": "exporter", "REDIS_PASSWORD_FILE": str(secrets / "exporter.json"),
            "REDIS_EXPORTER_CHECK_SINGLE_KEYS": "db0={mq:0}:lease,db0={mq:0}:due"})
        self.ready("exporter", f"http://127.0.0.1:{self.ports['exporter']}/metrics")

    def redis(self, *command: str) -> str:
        """What Redis says to one who may do everything."""
        done = subprocess.run(["redis-cli", "-p", str(self.ports["redis"]), "--user", "root", "--pass", self.root_password,
                               "--no-auth-warning", *command], capture_output=True, text=True)
        return done.stdout

    def start_api(self):
        self.api = f"http://127.0.0.1:{self.ports['api']}"
        self.key = self.settings["api"]["MANIMQ_API_KEY"]
        self.start("api", [PROGRAMS / "manimq", "serve"], {
            "MANIMQ_LISTEN": f"127.0.0.1:{self.ports['api']}",
            "MANIMQ_METRICS_LISTEN": f"127.0.0.1:{self.ports['api_metrics']}",
            "MANIMQ_DATA_DIR": str(self.work / "data"),
            "MANIMQ_SCENE_POLICY": "off",  # so that a scene gets as far as the sandbox's walls
            "MANIMQ_WEBHOOK_ALLOW": "127.0.0.0/8",
            "MANIMQ_CANARY": "10s",
            # Whoever makes a load starts it, or nobody answers there.
            "MANIMQ_LLM_URL": f"http://127.0.0.1:{self.ports['model']}/v1",
            "MANIMQ_LLM_MODEL": "stand-in",
        }, self.work / "api")
        self.ready("api", f"{self.api}/healthz")

    def start_worker(self):
        self.start("worker", [PROGRAMS / "manimq-worker", "run"], {
            "MANIMQ_API_URL": self.api,
            "MANIMQ_SLOTS": "2",
            "MANIMQ_WORKER_METRICS_LISTEN": f"127.0.0.1:{self.ports['worker']}",
            "MANIMQ_PYTHON_ENV": os.environ.get("MANIMQ_PYTHON_ENV", str(ROOT / ".manimq" / "python")),
            "MANIMQ_RENDERER_DIR": str(ROOT / "worker" / "renderer"),
            "MANIMQ_SCENE_POLICY": "off",
        }, self.work / "worker")
        self.ready("worker", f"http://127.0.0.1:{self.ports['worker']}/healthz")

    def start_prometheus(self):
        """With the configuration and the rules of deploy/prometheus, only quicker."""
        self.prometheus = f"http://127.0.0.1:{self.ports['prometheus']}"
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": f"{SCRAPE_S}s", "scrape_timeout": f"{SCRAPE_S}s", "evaluation_interval": "1s"}
        config.pop("alerting")
        where = {"manimq-api": "api_metrics", "manimq-worker": "worker", "redis": "exporter", "redis-streams": "exporter",
                 "prometheus": "prometheus"}
        for scrape in config["scrape_configs"]:
            scrape.pop("dns_sd_configs", None)
            scrape.pop("scrape_interval", None)
            scrape["static_configs"] = [{"targets": [f"127.0.0.1:{self.ports[where[scrape['job_name']]]}"]}]
            if "target" in scrape.get("params", {}):
                scrape["params"]["target"] = [f"127.0.0.1:{self.ports['redis']}"]
        rules = self.work / "rules"
        rules.mkdir()
        for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
            groups = yaml.safe_load(path.read_text())
            for group in groups["groups"]:
                group["interval"] = "1s"
                for rule in group["rules"]:
                    if "alert" in rule:
                        rule["for"] = "1s"
            (rules / path.name).write_text(yaml.safe_dump(groups))
        (self.work / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.start("prometheus", ["prometheus", f"--config.file={self.work / 'prometheus.yml'}",
                                  f"--storage.tsdb.path={self.work / 'tsdb'}",
                                  f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}"])
        self.ready("prometheus", f"{self.prometheus}/-/ready")
        # A counter that was not seen before its first step has no increase.
        until(lambda: len(self.ask("query", query="count by (job) (up == 1)")["result"]) == len(where), "all are scraped")

    # --- What is asked of them ------------------------------------------------------------------

    def admin(self, *words: str) -> dict:
        """An operator's command, through the operator's user of Redis."""
        return self.manimq("admin", *words, "--json")

    def manimq(self, *words: str) -> dict:
        """What a command answers with to an operator's user of Redis."""
        done = self.run([PROGRAMS / "manimq", *words])
        if done.returncode:
            raise AssertionError(f"manimq {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def run(self, command: list, **settings: str) -> subprocess.CompletedProcess:
        """Runs a command where the operator's settings are."""
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=self.work / "operator",
                              env={"PATH": os.environ["PATH"], **settings}, timeout=WAIT_S)

    def on_screen(self, *words: str) -> str:
        """What a command shows in a terminal of 100 by 40 characters until it has drawn all; then the key q ends it."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        process = subprocess.Popen([PROGRAMS / "manimq", *words], stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.work / "operator",
                                   env={"PATH": os.environ["PATH"], "TERM": "xterm-256color"}, start_new_session=True)
        os.close(theirs)
        shown = b""
        try:
            def read(mark: bytes):
                nonlocal shown
                if select.select([ours], [], [], 0.1)[0]:
                    # A terminal that nobody has open any more cannot be read.
                    with contextlib.suppress(OSError):
                        shown += os.read(ours, 65536)
                return mark in shown
            # In the last line; only what differs from an empty screen is drawn, so words stand alone.
            until(lambda: read(b"again"), "the screen is drawn")
            os.write(ours, b"q")
            until(lambda: read(b"\x1b[?1049l"), "the screen is given back")
            if process.wait(30):
                raise AssertionError(f"manimq {' '.join(words)}: status {process.returncode}: {shown!r}")
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        text = re.sub(r"\x1b\[[0-9;?]*m", "", shown.decode())
        return " ".join(re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|.)", " ", text).split())

    def ask(self, path: str, **parameters) -> dict:
        """A question to Prometheus' API."""
        status, answer = fetch(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        if status != 200:
            raise AssertionError(f"{parameters}: {answer}")
        return answer["data"]

    def over_time(self, expr: str) -> list[dict]:
        """The series of an expression since the start, scrape by scrape."""
        return self.ask("query_range", query=expr, start=self.began, end=time.time(), step=SCRAPE_S)["result"]

    def alerts(self) -> set[str]:
        """Which alerts fire now."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}
