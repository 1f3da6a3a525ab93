"""The scene of `Sandbox::verify`: renders three frames, and tries the walls."""

import os
import socket

from manim import Create, Scene, Square


def held(name, attempt):
    try:
        attempt()
    except OSError:
        return
    raise RuntimeError(f"the sandbox does not hold: {name}")


class Verify(Scene):
    def construct(self):
        held("a job can open a socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        held("a job can open a local socket", lambda: socket.socket(socket.AF_UNIX))
        held("a job can fork", os.fork)
        held("a job can start a program", lambda: os.execv("/usr/bin/true", ["true"]))
        held("a job can read the host's users", lambda: open("/etc/shadow").close())
        held("a job sees processes", lambda: open("/proc/1/environ").close())
        held("a job can write outside its folder", lambda: open("/opt/x", "w").close())
        held("a job can write to a shared folder", lambda: open("/dev/shm/x", "w").close())
        held("a job can list its neighbours", lambda: os.listdir(".."))
        held("a job can signal the renderer", lambda: os.kill(-1, 0))
        self.play(Create(Square()), run_time=0.2)
