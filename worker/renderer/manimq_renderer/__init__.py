"""The renderer that runs inside a manimq sandbox.

One slot of a worker is one *zygote* (``zygote.py``): Python with Manim warm,
one thread, which never looks at tenant data. For every job it forks a *guard*
(``guard.py``): trusted, still single threaded, the only process that talks to
the worker. The guard builds the walls and forks the *job* (``job.py``), which
confines itself for good (``walls.py``) before it touches the scene.

Nothing that a job sends is trusted: see ``protocol.py``.
"""

RENDERER_VERSION = "1"
"""Version of this code and of what it says to the worker; part of ``ready``."""
