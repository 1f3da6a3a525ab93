"""Entry point of a slot: ``python3 -I -B main.py CONTROL JOB TEX DOORS LEVEL [AREA READABLE…]``.

The first three are descriptors: the control socket and two seccomp programs. DOORS
are more, with commas between: files of the control groups that the slot joins.
LEVEL is ``full`` (inside bubblewrap) or ``container``; for that, AREA is the
slot's own folder, and READABLE is what a scene may read.
"""

import os
import sys

# -I keeps Python from looking beside this file, which is what we want it to do.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from manimq_renderer.zygote import main  # noqa: E402

main(*map(int, sys.argv[1:4]), [int(door) for door in sys.argv[4].split(",") if door], *sys.argv[5:])
