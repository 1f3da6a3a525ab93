# Rendered after every attack, in the same warm sandbox: nothing is left of it.
import builtins
import os
import sys
import threading

from manim import *

left = []
if os.listdir(".") != ["scene.py"]:
    left.append(f"files {os.listdir('.')}")
if os.listdir(os.environ["TMPDIR"]):
    left.append(f"temporary files {os.listdir(os.environ['TMPDIR'])}")
if hasattr(builtins, "planted") or hasattr(Scene, "planted") or "planted" in sys.modules or "PLANTED" in os.environ:
    left.append("objects")
if threading.active_count() != 1:
    left.append(f"{threading.active_count()} threads")
if os.umask(0o77) == 0:
    left.append("umask")
if config.pixel_width != 320 or config.output_file:
    left.append("configuration")


class Good(Scene):
    def construct(self):
        if left:
            raise RuntimeError("LEFT " + "; ".join(left))
        # Played and not only shown: it takes every lock that a film does.
        self.play(Create(Square()), run_time=0.1)
