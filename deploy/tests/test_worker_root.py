"""A worker in the root file system of its image renders what is sent to the API (started by worker-root.sh)."""

import os
import unittest

from load import FORMULA, SQUARE, Load
from stack import Stack

CHROOT = os.environ["MANIMQ_TEST_WORKER_ROOT"]


class InTheImage(Stack):
    """All of the stack on the host but the worker, which is in the chroot, as the image's user."""

    def start(self, name, command, environment=None, cwd=None):
        if name == "worker":
            here = {**self.settings["worker"], **(environment or {}), "MANIMQ_PYTHON_ENV": "/opt/manimq/python", "MANIMQ_RENDERER_DIR": "/opt/manimq/renderer",
                    "MANIMQ_SANDBOX_DIR": "/sandbox", "MANIMQ_SANDBOX_LEVEL": "container",
                    "PATH": "/usr/local/bin:/usr/bin:/bin"}
            command = ["chroot", CHROOT, "/usr/bin/setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups",
                       "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--",
                       "/usr/bin/env", "-i", *(f"{key}={value}" for key, value in here.items()), "manimq-worker", "run"]
            environment = {}
        super().start(name, command, environment, cwd)


class WorkerRoot(unittest.TestCase):
    def test_films_come_out_of_it(self):
        with InTheImage() as stack:
            load = Load(stack)
            for source in (SQUARE, FORMULA.format(r"\sum_{n=1}^\infty n^{-2} = \frac{\pi^2}{6}")):
                job = load.wait("default", load.submit(source)["id"], "succeeded")
                self.assertTrue(any(artifact["name"].endswith(".mp4") for artifact in job["artifacts"]), job)
            self.assertIn("container", stack.log("worker"))


if __name__ == "__main__":
    unittest.main()
