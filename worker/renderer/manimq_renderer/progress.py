"""How far a job is: its own counts, the scout's totals, and the time that is left.

Nothing here is believed further than it can be checked: totals that the job
itself has passed are dropped, for good, rather than shown as 110 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .protocol import clean_count, clean_seconds

COUNT_MAX = 10**9
"""Most frames or animations that are believed."""
RATE_WINDOW_S = 15.0
"""How far back the frames' rate looks: longer than one slow animation."""
RATE_AFTER_S = 0.5
"""Drawing time before a rate is worth showing."""


@dataclass(slots=True)
class Rate:
    """Frames a second of drawing: an average in which older frames fade out."""

    began: float
    _at: float = field(init=False)
    _seen: int = 0
    _frames: float = 0.0
    _seconds: float = 0.0

    def __post_init__(self) -> None:
        self._at = self.began

    def add(self, now: float, frames: int) -> None:
        """The job had drawn ``frames`` at ``now``, on the monotonic clock."""
        elapsed = max(0.0, now - self._at)
        fade = math.exp(-elapsed / RATE_WINDOW_S)
        self._frames = self._frames * fade + max(0, frames - self._seen)
        self._seconds = self._seconds * fade + elapsed
        self._at, self._seen = now, frames

    def seconds_for(self, frames: int, now: float) -> float | None:
        """How long that many more will take; None while nobody can know."""
        # The time since the last report counts: a frame that takes long slows the rate.
        seconds = self._seconds + max(0.0, now - self._at)
        if seconds < RATE_AFTER_S or self._frames <= 0:
            return None
        left = frames * seconds / self._frames
        return left if math.isfinite(left) else None


@dataclass(slots=True)
class Progress:
    """The latest that the job said about how far it is, and what is known beside that."""

    stage: str = "preparing"
    animation: int = 0
    animation_frames: int = 0
    animation_frames_total: int | None = None
    frames: int = 0
    _rate: Rate | None = None
    _totals: tuple[int, int] | None = None
    _wrong: bool = False

    def drawing(self, now: float) -> None:
        """The first animation begins."""
        if self._rate is None:
            self._rate = Rate(now)

    def count(self, event: dict[str, Any], now: float) -> None:
        """Take the counts of a job's event."""
        self.animation = clean_count(event.get("animation"), COUNT_MAX) or 0
        self.frames = clean_count(event.get("frames"), COUNT_MAX) or 0
        self.animation_frames = clean_count(event.get("animation_frames"), COUNT_MAX) or 0
        self.animation_frames_total = clean_count(event.get("animation_frames_total"), COUNT_MAX)
        if self._rate is not None:
            self._rate.add(now, self.frames)
        self._check_totals()

    def add(self, event: dict[str, Any], now: float) -> None:
        """Take what one of several drawing processes has drawn since its last event."""
        drawn = clean_count(event.get("frames"), COUNT_MAX) or 0
        animation = clean_count(event.get("animation"), COUNT_MAX) or 0
        frames = min(COUNT_MAX, self.frames + drawn)
        if animation >= self.animation:
            self.count({**event, "frames": frames}, now)
        else:
            self.count({**self._latest(), "frames": frames}, now)

    def _latest(self) -> dict[str, Any]:
        return {
            "animation": self.animation,
            "animation_frames": self.animation_frames,
            "animation_frames_total": self.animation_frames_total,
        }

    def frames_soon(self) -> int:
        """Frames that there will be when the play that is drawn now has ended, as far as its length is known."""
        left = (self.animation_frames_total or 0) - self.animation_frames
        return self.frames + max(0, left)

    def learn_totals(self, animations: int, frames: int) -> None:
        """The scout has been through the scene."""
        if not self._wrong:
            self._totals = (animations, frames)
            self._check_totals()

    def finish(self, animations: int, frames: int) -> None:
        """The film is there and was looked at: these are its counts."""
        self.stage = "encoding"
        self.animation, self.frames = animations, frames
        self._totals, self._wrong = (animations, frames), False

    def _check_totals(self) -> None:
        if self._totals is None:
            return
        animations, frames = self._totals
        if self.animation > animations or self.frames > frames:
            # The scout saw another scene than the job plays, or one of them lies.
            self._totals, self._wrong = None, True

    def message(self, now: float) -> dict[str, Any]:
        """The worker's form."""
        animations_total, frames_total, eta_s = None, None, None
        if self.stage == "encoding":
            # All frames are drawn: what there is is what there will be.
            animations_total = self.animation
            frames_total = self.frames or None
        elif self._totals is not None:
            animations_total, frames_total = self._totals
            if self._rate is not None:
                eta_s = clean_seconds(self._rate.seconds_for(frames_total - self.frames, now))
        return {
            "type": "progress",
            "stage": self.stage,
            "animation": self.animation,
            "animations_total": animations_total,
            "frames": self.frames,
            "frames_total": frames_total,
            "animation_frames": self.animation_frames,
            "animation_frames_total": self.animation_frames_total,
            "eta_s": None if eta_s is None else round(eta_s, 1),
        }
