"""Entry point of a slot, started by bubblewrap: ``python3 -I -B main.py CONTROL JOB TEX``.

The arguments are descriptors: the control socket and two seccomp programs.
"""

import os
import sys

# -I keeps Python from looking beside this file, which is what we want it to do.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from manimq_renderer.zygote import main  # noqa: E402

main(*map(int, sys.argv[1:4]))
