"""How a job ended, and what its author is told of that.

The guard collects it while the job dies. What the job itself has said in it is hostile: the
guard cleans the failure that comes of it (``protocol.clean_failure``).
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass, field
from typing import Any

from . import hints, walls
from .protocol import JobSpec, Limits, clean_count

_SIGNALS = frozenset(signal.Signals)
"""Those with a name of their own."""


class NotConfined(Exception):
    """The job ended before it was behind its walls: ours."""


@dataclass(slots=True)
class Ending:
    """How a job ended, collected while it dies."""

    status: int = 0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    failed: dict[str, Any] | None = None
    stopped_at: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    crash: str = ""
    confined: bool = False
    """Whether the job got so far that tenant code may have run."""
    walls_s: float = 0.0
    """From when it was known what to render until the job stood behind its walls."""
    headless: bool = False
    """Whether the guard killed it because its first thread had ended and others went on."""
    stop: str | None = None
    """Why the guard ended it: timeout, cpu, stalled, limit, canceled, protocol; None if it ended itself."""
    limit: dict[str, Any] = field(default_factory=dict)
    """The failure, if it passed a limit that the guard looks after."""
    notes: list[str] = field(default_factory=list)

    def failure(self, spec: JobSpec) -> dict[str, Any] | None:
        """Why there is no file to take, or None."""
        limits = spec.limits
        if self.stop in ("timeout", "stalled"):
            message = (
                f"the render was stopped at its time limit of {limits.wall_s:g} s"
                if self.stop == "timeout"
                else f"the render showed no progress for {limits.stall_s:g} s and was stopped"
            )
            return {**self._place(spec), "class": "timeout", "message": message, "hint": self._time_hint(self.stop)}
        if self.stop == "limit":
            return {**self._place(spec), **self.limit}
        if self.stop == "cpu":
            return {**self._place(spec), **self._cpu_used_up(limits)}
        if self.stop == "protocol":
            return {"class": "sandbox_denied", "denied": "escape", "message": "; ".join(self.notes), "hint": hints.PIPE}
        # One that was about to end when it looked so has its own status.
        if self.headless and os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL:
            message = "the scene ended its first thread, and others went on"
            return {"class": "sandbox_denied", "denied": "escape", "message": message, "hint": hints.EXIT}
        if self.failed is not None:
            if self.failed.get("class") == "out_of_memory":
                return {**self.failed, "message": self._memory_message(limits), "hint": hints.MEMORY}
            return self.failed
        if os.WIFSIGNALED(self.status):
            return self._killed(os.WTERMSIG(self.status), spec)
        if not self.confined:
            raise NotConfined("the job could not confine itself")
        if self.status != 0 or self.done is None:
            return {
                "class": "validation",
                "message": "the scene ended the Python process before the render was complete",
                "hint": hints.EXIT,
            }
        return None

    def _killed(self, number: int, spec: JobSpec) -> dict[str, Any]:
        """The job died of a signal that the guard did not send."""
        limits = spec.limits
        where = self._place(spec)
        name = signal.Signals(number).name if number in _SIGNALS else str(number)
        if self.cpu_s >= limits.cpu_s:
            return {**where, **self._cpu_used_up(limits)}
        if number == signal.SIGKILL or self.peak_memory_bytes > 0.6 * limits.memory_bytes:
            return {**where, "class": "out_of_memory", "message": self._memory_message(limits), "hint": hints.MEMORY}
        return {
            **where,
            "class": "scene_error",
            "message": f"the Python process crashed ({name})",
            "hint": hints.CRASH,
        }

    def _cpu_used_up(self, limits: Limits) -> dict[str, Any]:
        message = f"the render used its {limits.cpu_s} s of CPU time"
        return {"class": "timeout", "message": message, "hint": self._time_hint("cpu")}

    def _time_hint(self, stop: str) -> str:
        return hints.of_time(stop, clean_count((self.stopped_at or {}).get("loop")))

    def _memory_message(self, limits: Limits) -> str:
        reached = self.peak_memory_bytes // 2**20
        limit = limits.memory_bytes // 2**20
        # What was asked for and never touched counts too, so less may have been resident.
        return f"the render reached its memory limit of {limit} MiB (it had {reached} MiB in use)"

    def _place(self, spec: JobSpec) -> dict[str, Any]:
        """Where the job was: by its own word, else the user's innermost frame in what faulthandler wrote."""
        if self.stopped_at:
            return self.stopped_at
        name = re.escape(f"{walls.JOB_DIR}/{spec.file_name}")
        found = re.search(rf'File "{name}", line (\d{{1,7}}) in (\S{{1,100}})', self.crash)
        return {"line": int(found[1]), "function": found[2]} if found else {}
