"""Compose file, images, secrets: valid, hardened, and in agreement with the programs and with each other.

No container engine is needed: nothing is built or started. What is in the worker's image is proven by worker-root.sh.
"""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from promql import ROOT
from stack import fetch, free_port, until

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = sorted((DEPLOY / "images").glob("*.Dockerfile"))
# A version for people, a digest for machines.
PINNED = r"^[a-z0-9/_]+:v?\w+[.-]\d[\w.-]*@sha256:[0-9a-f]{64}$"
PROGRAMS = Path(os.environ.get("MANIMQ_PROGRAMS", ROOT / "target" / "debug"))


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([smh])", text).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


class Validators(unittest.TestCase):
    def passes(self, *command):
        status, output = run(*command)
        self.assertEqual(status, 0, output)

    def test_the_compose_file_keeps_the_specification(self):
        self.passes("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")

    def test_the_compose_file_has_no_known_weakness(self):
        status, output = run("compose-lint", "--format", "json", DEPLOY / "compose.yaml")
        self.assertEqual(status, 0, output)
        # Our own images have no digest before they are built.
        ours = {("CL-0019", name) for name, service in SERVICES.items() if service["image"].startswith("manimq")}
        found = {(one["rule_id"], one["service"]) for one in json.loads(output)["findings"]}
        self.assertLessEqual(found, ours, output)

    def test_the_dockerfiles_have_no_known_weakness(self):
        self.assertEqual(len(DOCKERFILES), 2)
        for path in DOCKERFILES:
            self.passes("hadolint", path)

    def test_yaml_files_are_tidy(self):
        files = [DEPLOY / "compose.yaml", *DEPLOY.glob("prometheus/**/*.yml"), *ROOT.glob("grafana/provisioning/**/*.yaml")]
        self.passes("yamllint", "--strict", "-c", DEPLOY / "yamllint.yml", *files)


class Services(unittest.TestCase):
    def each(self):
        for name, service in SERVICES.items():
            with self.subTest(name):
                yield name, service

    def test_it_has_a_name_and_no_version(self):
        self.assertEqual(COMPOSE["name"], "manimq")
        self.assertNotIn("version", COMPOSE)

    def test_each_is_confined_and_bounded(self):
        for _, service in self.each():
            self.assertTrue(service["read_only"] and service["init"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertIn("no-new-privileges:true", service["security_opt"])
            self.assertFalse({"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service))
            self.assertTrue({"mem_limit", "cpus", "pids_limit"} <= set(service))
            self.assertIn("max-size", service["logging"]["options"])

    def test_what_is_published_is_published_on_loopback_alone(self):
        for _, service in self.each():
            for port in service.get("ports", []):
                self.assertRegex(port, r"^127\.0\.0\.1:")

    def test_redis_and_workers_reach_nothing_but_each_other_and_the_api(self):
        self.assertTrue(COMPOSE["networks"]["back"]["internal"])
        for name in ("redis", "worker", "redis-exporter", "admin"):
            self.assertEqual(SERVICES[name]["networks"], ["back"])
            self.assertNotIn("ports", SERVICES[name])

    def test_images_of_others_have_a_version_and_a_digest(self):
        for _, service in self.each():
            if "build" in service or service["image"].startswith("manimq:"):
                continue
            self.assertRegex(service["image"], PINNED)

    def test_who_waits_for_another_waits_until_it_is_healthy(self):
        for _, service in self.each():
            for other, how in service.get("depends_on", {}).items():
                self.assertEqual(how["condition"], "service_healthy")
                built = "build" in SERVICES[other] and "HEALTHCHECK" in self.dockerfile(SERVICES[other])
                self.assertTrue(built or "healthcheck" in SERVICES[other], other)

    def dockerfile(self, service) -> str:
        return (ROOT / service["build"]["dockerfile"]).read_text()

    def test_a_worker_may_finish_what_it_renders_before_it_is_killed(self):
        worker = SERVICES["worker"]
        self.assertGreater(seconds(worker["stop_grace_period"]), seconds(worker["environment"]["MANIMQ_DRAIN_TIMEOUT"]) + 30)
        self.assertGreaterEqual(seconds(worker["environment"]["MANIMQ_DRAIN_TIMEOUT"]), 600)

    def test_folders_of_jobs_are_in_memory_bounded_and_the_workers_own(self):
        (sandbox,) = [mount for mount in SERVICES["worker"]["tmpfs"] if mount.startswith("/sandbox:")]
        user = re.search(r"^USER (\d+:\d+)$", self.dockerfile(SERVICES["worker"]), re.M)[1]
        self.assertIn("size=", sandbox)
        self.assertIn("uid={},gid={}".format(*user.split(":")), sandbox)
        self.assertIn("MANIMQ_SANDBOX_DIR=/sandbox", self.dockerfile(SERVICES["worker"]))

    def test_settings_exist(self):
        helps = run(PROGRAMS / "manimq", "serve", "--help")[1] + run(PROGRAMS / "manimq-worker", "run", "--help")[1]
        used = {name for service in SERVICES.values() for name in service.get("environment", {})}
        used |= {name for path in DOCKERFILES for name in re.findall(r"\b(MANIMQ_\w+)=", path.read_text())}
        self.assertGreater(len([name for name in used if name.startswith("MANIMQ_")]), 8)
        for name in used:
            if name.startswith("MANIMQ_"):
                self.assertTrue(re.search(rf"\b{name}\b", helps), name)

    def test_no_secret_is_in_the_environment_of_a_container(self):
        for _, service in self.each():
            for name, value in service.get("environment", {}).items():
                self.assertFalse(re.search("(PASSWORD|SECRET|KEY)$", name), name)
                self.assertNotIn("@", str(value))

    def test_prometheus_finds_what_the_compose_file_has(self):
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        for name in re.findall(r"(?:names|targets|target): \[\"?([a-z-]+)", text):
            if name != "localhost":
                self.assertIn(name, SERVICES)
        keys = SERVICES["redis-exporter"]["environment"]["REDIS_EXPORTER_CHECK_SINGLE_KEYS"]
        self.assertEqual(keys, "db0={mq:0}:lease,db0={mq:0}:due")

    def test_what_is_mounted_from_the_checkout_is_there(self):
        for _, service in self.each():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((DEPLOY / source).exists(), source)
                else:
                    self.assertIn(source, COMPOSE["volumes"])


class Images(unittest.TestCase):
    def test_what_they_copy_is_in_the_checkout_and_sent_to_the_builder(self):
        sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        for path in DOCKERFILES:
            for line in re.findall(r"^COPY (?!--from)(.*)$", path.read_text(), re.M):
                for source in line.split()[:-1]:
                    if source == ".":
                        continue
                    self.assertTrue((ROOT / source).exists(), source)
                    self.assertTrue(any(source == one or source.startswith(one + "/") for one in sent), source)

    def test_secrets_are_never_sent_to_the_builder(self):
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        self.assertEqual(lines[1], "*")
        self.assertGreater(lines.index("deploy/secrets"), lines.index("!deploy"))

    def test_they_run_as_a_number_that_is_not_root_and_say_whether_they_are_well(self):
        for path in DOCKERFILES:
            last = path.read_text().split("\nFROM ")[-1]
            self.assertRegex(last, r"\nUSER [1-9]\d*:[1-9]\d*\n")
            self.assertIn("\nHEALTHCHECK ", last)
            self.assertNotIn("cargo", last)


    def test_they_begin_from_images_with_a_version_and_a_digest(self):
        for path in DOCKERFILES:
            text = path.read_text()
            stages = set(re.findall(r"^FROM .* AS (\w+)$", text, re.M))
            bases = {base for base in re.findall(r"^FROM (\S+)", text, re.M) if base not in stages}
            self.assertEqual(len(bases), 2)
            for base in bases:
                self.assertRegex(base, PINNED)


class ReadOnly(unittest.TestCase):
    """The programs as their containers run: nothing can be written but what the compose file mounts, no capability."""

    def setUp(self):
        # Not below /tmp, which is mounted over.
        folder = tempfile.TemporaryDirectory(dir="/var/tmp", prefix="manimq-ro-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)

    def command(self, service: str, *words, writable: tuple[Path, ...] = ()) -> list[str]:
        """A program in a view of this machine as its container has it."""
        mounts: list[str] = []
        for mount in SERVICES[service]["tmpfs"]:
            place, _, options = mount.partition(":")
            size, = re.findall(r"size=(\d+)([mg])", options)
            # This machine need not have the folder that the image has.
            place = "/mnt" if place == "/sandbox" else place
            mounts += ["--size", str(int(size[0]) << {"m": 20, "g": 30}[size[1]]), "--tmpfs", place]
        for path in writable:
            mounts += ["--bind", str(path), str(path)]
        return ["bwrap", "--die-with-parent", "--unshare-user", "--uid", "10001", "--gid", "10001", "--unshare-pid", "--unshare-ipc",
                "--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *mounts, "--chdir", str(self.folder),
                *(str(word) for word in words)]

    def start(self, command: list[str], **settings: str) -> subprocess.Popen:
        log = (self.folder / "log").open("ab")
        self.addCleanup(log.close)
        process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **settings}, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_the_api_writes_to_its_volume_and_to_tmp_alone(self):
        data, redis = self.folder / "data", self.folder / "redis.sock"
        data.mkdir(mode=0o777)
        data.chmod(0o777)
        self.start(["redis-server", "--port", "0", "--unixsocket", str(redis), "--unixsocketperm", "777", "--save", ""])
        port, metrics = free_port(), free_port()
        api = self.start(self.command("api", PROGRAMS / "manimq", "serve", writable=(data,)), REDIS_URL=f"unix://{redis}",
                         MANIMQ_LISTEN=f"127.0.0.1:{port}", MANIMQ_METRICS_LISTEN=f"127.0.0.1:{metrics}", MANIMQ_DATA_DIR=str(data))
        says = lambda: (self.folder / "log").read_text(errors="replace")  # noqa: E731

        def healthy():
            self.assertIsNone(api.poll(), says())
            return run(DEPLOY / "images" / "healthy", port, "/healthz")[0] == 0
        until(healthy, "the API is healthy")
        body = {"input": {"kind": "template", "id": "title-card", "params": {"title": "read-only"}}}
        status, answer = fetch(f"http://127.0.0.1:{port}/v1/jobs", body)
        self.assertEqual(status, 202, (answer, says()))
        self.assertTrue(any(data.iterdir()), "it keeps its store in the volume")
        self.assertNotIn("Read-only", says())

    def test_the_worker_renders_with_what_it_writes_in_memory(self):
        environment = os.environ.get("MANIMQ_PYTHON_ENV", str(ROOT / ".manimq" / "python"))
        done = subprocess.run(self.command("worker", PROGRAMS / "manimq-worker", "verify"), capture_output=True, text=True, timeout=300,
                              env={"PATH": os.environ["PATH"], "MANIMQ_PYTHON_ENV": environment, "MANIMQ_SANDBOX_DIR": "/mnt",
                                   "MANIMQ_RENDERER_DIR": str(ROOT / "worker" / "renderer"), "MANIMQ_SANDBOX_LEVEL": "container"})
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("container", said)
        # It looks whether it may make control groups, which it may not.
        self.assertNotIn("Read-only", re.sub(".*control groups: not used.*", "", said))


class Secrets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "secrets"
        status, output = run(DEPLOY / "compose-secrets", self.folder)
        self.assertEqual(status, 0, output)

    def test_each_that_the_compose_file_mounts_is_made_and_no_other(self):
        self.assertEqual({path.name for path in self.folder.iterdir()}, set(COMPOSE["secrets"]))
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        json.loads((self.folder / "s3.json").read_text())
        self.assertIn("exporter", str(json.loads((self.folder / "exporter.json").read_text())))

    def test_each_service_has_those_that_are_its_own(self):
        mounted = {name: [secret if isinstance(secret, str) else secret["source"] for secret in service.get("secrets", [])]
                   for name, service in SERVICES.items()}
        self.assertEqual(mounted["worker"], ["worker.env"])
        self.assertEqual(sorted(sum(mounted.values(), [])), sorted(COMPOSE["secrets"]))

    def test_redis_knows_hashes_only_and_a_worker_has_no_key_of_store_or_api(self):
        acl = (self.folder / "users.acl").read_text()
        worker = (self.folder / "worker.env").read_text()
        password = re.search("worker:([0-9a-f]{48})@", worker)[1]
        self.assertNotIn(password, acl)
        self.assertEqual(worker.count("="), 1)
        self.assertEqual(len(re.findall("#[0-9a-f]{64}", acl)), 4)

    def test_a_second_call_changes_nothing(self):
        before = {path.name: path.read_text() for path in self.folder.iterdir()}
        self.assertEqual(run(DEPLOY / "compose-secrets", self.folder)[0], 0)
        self.assertEqual(before, {path.name: path.read_text() for path in self.folder.iterdir()})


if __name__ == "__main__":
    unittest.main()
