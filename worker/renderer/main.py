"""Entry point of a slot: ``python3 -I -B main.py CONTROL JOB TEX LEVEL [AREA READABLE…]``.

The first three are descriptors: the control socket and two seccomp programs.
LEVEL is ``full`` (inside bubblewrap) or ``container``; for that, AREA is the
slot's own folder, and READABLE is what a scene may read.
"""

import os
import sys

# -I keeps Python from looking beside this file, which is what we want it to do.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from manimq_renderer.zygote import main  # noqa: E402

main(*map(int, sys.argv[1:4]), *sys.argv[4:])
