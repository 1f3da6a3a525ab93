"""A mixed load: what a day brings, in half a minute."""

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stack import Stack, fetch, until

HEAD = "from manim import *\n\n\nclass A(Scene):\n    def construct(self):\n"
SQUARE = HEAD + "        self.play(Create(Square()), run_time=0.5)\n"
FORMULA = HEAD + "        self.play(Write(MathTex(r'{}')), run_time=0.3)\n"
WRONG = HEAD + "        self.play(Create(undefined_name))\n"
ENDLESS = HEAD + "        while True:\n            self.wait(0.1)\n"
REACHES_OUT = HEAD + "        import socket\n        socket.create_connection(('192.0.2.1', 80))\n"
OUTSIDE = HEAD + "        self.play(FadeIn(Text('half of this is seen').shift(RIGHT * 6)), run_time=0.3)\n"
LONG = HEAD + "        for _ in range(400):\n            self.play(Rotate(Square()), run_time=1)\n"
ENDED = ("succeeded", "failed", "canceled", "expired")


class Model(BaseHTTPRequestHandler):
    """In place of a language model: of "www" it makes a card, of all else nothing that can be used."""

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
        said = [turn["content"] for turn in question]
        if said[0].startswith("You choose"):
            text = json.dumps({"templates": ["title-card"] if "www" in said[1] else []})
        elif said[0].startswith("You fill"):
            text = json.dumps({"parts": [{"title": "www"}]})
        else:
            text = "No."
        answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                             "usage": {"total_tokens": 100}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Load:
    """Submits jobs of several tenants; `jobs` are those whose end counts."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.keys = {"default": stack.key}
        self.jobs: list[tuple[str, str]] = []
        self.number = 0
        self.model = ThreadingHTTPServer(("127.0.0.1", stack.ports["model"]), Model)
        threading.Thread(target=self.model.serve_forever, daemon=True).start()

    def tenant(self, name: str, *quotas: str):
        self.stack.admin("tenants", "create", name)
        if quotas:
            self.stack.admin("tenants", "set", name, *quotas)
        self.keys[name] = self.stack.admin("keys", "create", name)["key"]

    def submit(self, source: str, tenant: str = "default", headers: dict | None = None, expect: int = 202, new: bool = True, **more):
        """One job; new: no other job's film answers for it."""
        self.number += 1
        body = {"input": {"kind": "code", "source": source + (f"# {self.number}\n" if new else "")},
                "output": {"quality": "low"}, **more}
        status, job = fetch(f"{self.stack.api}/v1/jobs", body, self.keys[tenant], headers)
        if status != expect:
            raise AssertionError(f"submit: {status}, not {expect}: {job}")
        if expect == 202:
            self.jobs.append((tenant, job["id"]))
        return job

    def prompts(self):
        """Sentences: one that fits a template, one that the model knows, one that becomes a card, one that is refused."""
        for prompt, more, expect in (("bubble sort 3 1 2", {}, 202), ("zzz www", {}, 202), ("zzz qqq", {"fallback": "explainer"}, 202),
                                     ("zzz qqq", {}, 422)):
            body = {"input": {"kind": "prompt", "prompt": prompt, **more}, "output": {"quality": "low", "format": "png"}}
            status, job = fetch(f"{self.stack.api}/v1/jobs", body, self.keys["default"])
            if status != expect:
                raise AssertionError(f"{prompt}: {status}, not {expect}: {job}")
            if expect == 202:
                self.jobs.append(("default", job["id"]))

    def get(self, tenant: str, job: str) -> dict:
        return fetch(f"{self.stack.api}/v1/jobs/{job}", None, self.keys[tenant])[1]

    def wait(self, tenant: str, job: str, *wanted: str) -> dict:
        """Waits for one of these statuses."""
        def reached():
            now = self.get(tenant, job)
            if now["status"] in wanted:
                return now
            if now["status"] in ENDED:
                raise AssertionError(f"{job} is {now['status']}, not {' or '.join(wanted)}: {now.get('error')}")
            return None
        return until(reached, f"{job} becomes {' or '.join(wanted)}")

    # --- What a day brings ----------------------------------------------------------------------

    def webhook(self):
        """A receiver that answers the first call with 500, so that one is repeated."""
        calls = []

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self):
                calls.append(self.path)
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(500 if len(calls) == 1 else 200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        status, answer = fetch(f"{self.stack.api}/v1/webhooks", {"url": f"http://127.0.0.1:{self.receiver.server_port}/"}, self.stack.key)
        if status != 201:
            raise AssertionError(f"webhook: {status} {answer}")
        return calls

    def usual(self):
        """Successes of all lanes, shared work, formulas, what scenes do wrong, what is refused."""
        for lane in ("interactive", "normal", "batch"):
            self.submit(SQUARE, lane=lane)
        formula = self.submit(FORMULA.format("x^2 + y^2 = z^2"))["id"]
        self.submit(SQUARE, output={"quality": "medium"})
        self.submit(SQUARE, output={"quality": "low", "format": "gif"})
        self.submit(WRONG)
        self.submit(ENDLESS, timeout_s=2)
        self.submit(REACHES_OUT)
        self.submit(OUTSIDE)
        for _ in range(2):  # the second follows the first, or is answered by its film
            self.submit(SQUARE + "# the same\n", new=False)
        for _ in range(2):
            self.submit(SQUARE + "# once\n", headers={"Idempotency-Key": "a-day"}, new=False)
        self.submit(SQUARE, "limited")
        self.submit(SQUARE, "limited", expect=429)
        self.wait("default", formula, "succeeded")
        self.submit(FORMULA.format("x^2 + y^2 = z^2"))  # known by now

    def cancelled(self):
        """A job that somebody follows, by events and by a long poll, until it is cancelled."""
        job = self.submit(LONG)["id"]
        followers = [threading.Thread(target=fetch, daemon=True, args=(f"{self.stack.api}/v1/jobs/{job}{way}", None, self.stack.key))
                     for way in ("/events", "?wait=20&since=1000000")]
        for follower in followers:
            follower.start()
        self.wait("default", job, "running")
        until(lambda: self.stack.ask("query", query="manimq_sse_connections > 0")["result"], "the follower is counted")
        fetch(f"{self.stack.api}/v1/jobs/{job}/cancel", {}, self.stack.key)
        self.wait("default", job, "canceled")

    def flood(self):
        """One tenant sends much, another little."""
        for number in range(30):
            self.submit(SQUARE, "flood")
            if number % 10 == 5:
                self.submit(SQUARE, "ann")

    def all_ended(self):
        """Waits for the end of all."""
        for tenant, job in self.jobs:
            self.wait(tenant, job, *ENDED)

    def drained(self):
        """An operator lets the worker rest for a moment."""
        self.stack.admin("drain", "--all")
        for drains in 'manimq_fleet_slots{state="draining"} > 0', "manimq_worker_draining_timestamp_seconds > 0":
            until(lambda: self.stack.ask("query", query=drains)["result"], drains)
        self.stack.admin("drain", "--all", "--undo")

    def held(self):
        """While an operator has paused everything, jobs wait: what the API's metrics and `manimq top` say of them then."""
        self.stack.admin("pause", "--all")
        for tenant, lane in ("ann", "interactive"), ("ann", "batch"), ("flood", "batch"):
            self.submit(SQUARE, tenant, lane=lane)

        def told():
            text = fetch(f"http://127.0.0.1:{self.stack.ports['api_metrics']}/metrics")[1].decode()
            return text if 'manimq_queue_jobs{lane="batch",state="waiting"} 2' in text else None
        metrics = until(told, "the metrics show the jobs that wait")
        top, screen = self.stack.manimq("top", "--json"), self.stack.on_screen("top")
        self.stack.admin("resume", "--all")
        return metrics, top, screen

    def without_store(self):
        """For a moment no film can be stored: the worker tries again, and the job succeeds."""
        store, away = self.stack.work / "data" / "artifacts", self.stack.work / "away"
        store.rename(away)
        store.write_text("no folder")
        try:
            job = self.submit(SQUARE)["id"]
            until(lambda: "will try again" in self.stack.log("worker"), "an upload fails")
        finally:
            store.unlink()
            away.rename(store)
        self.wait("default", job, "succeeded")

    def sandboxes_die(self) -> list[str]:
        """Two jobs' sandboxes are killed below them: three tries each, then they are dead letters, which it gives."""
        dead = [self.submit(LONG)["id"] for _ in range(2)]

        def killed_until_buried():
            now = [self.get("default", job) for job in dead]
            tries = {(one["id"], len(one["attempts"])) for one in now if one["status"] == "running"}
            if tries - seen:
                seen.update(tries)
                self.stack.kill_children("worker")
            return now if all(one["status"] in ENDED for one in now) else None
        seen: set[tuple[str, int]] = set()
        for ended in until(killed_until_buried, f"{dead} are buried"):
            if (ended["status"], ended["error"]["class"], len(ended["attempts"])) != ("failed", "sandbox_unavailable", 3):
                raise AssertionError(ended)
        ready = 'manimq_worker_slots{state="idle"} == 2'
        until(lambda: self.stack.ask("query", query=ready)["result"], "the slots have sandboxes again")
        return dead

    def worker_dies(self):
        """The only worker is killed while it renders and others wait. Gives the job that it rendered."""
        job = self.submit(LONG)["id"]
        until(lambda: self.get("default", job)["stage"] == "rendering", f"{job} is drawn")
        for _ in range(3):
            self.submit(SQUARE, "ann")
        self.stack.stop("worker", signal.SIGKILL)
        return job

    def runs_again(self, job: str):
        """Waits until a job whose worker died is rendered by another one."""
        seen = {}

        def again():
            seen.update(self.get("default", job))
            outcomes = [one.get("outcome") for one in seen["attempts"]]
            return outcomes == ["lost_lease", None]
        try:
            until(again, f"{job} runs again")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen}; the worker:\n{self.stack.log('worker')[-3000:]}") from None
