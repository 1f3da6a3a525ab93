"""The guard's clock: it stands while the machine does.

A sandbox in somebody else's cloud may be frozen in the middle of a render, with all that runs in
it, and so may a virtual machine anywhere. What its author waits for then is not his scene: a job
must not end at its time limit for it. Nobody tells of a freeze; but who has slept far longer than
he meant to was not let run. How long a job may take in all is the worker's to say, on his clock.
"""

from __future__ import annotations

import time

LATE_S = 5.0
"""On a busy machine the guard runs seconds late at the worst: that is still the job's time."""

_stood_s = 0.0


def now() -> float:
    """Seconds in which the machine has run, since some moment."""
    return time.monotonic() - _stood_s


def work() -> tuple[float, float]:
    """Something begins that waits for nobody; for ``worked``."""
    return now(), time.process_time()


def worked(began: tuple[float, float]) -> None:
    """Tell that it is over. What it took of a processor is no freeze: a job may have given us the work."""
    since, cpu_s = began
    waited(since, time.process_time() - cpu_s)


def waited(since: float, seconds: float) -> None:
    """Tell that a wait of at most ``seconds``, begun at ``since``, is over."""
    global _stood_s
    late = now() - since - max(0.0, seconds)
    if late > LATE_S:
        _stood_s += late
