"""Looks over a scene's shoulder: what a viewer could not read, see whole, or would take for a fault.

    watch = Watch(scene)     before the render
    watch.warnings           after it

After each play the mobjects that are shown then are looked at, never the pixels: outside of the frame,
text on text, too small to read, nothing at the end, nothing new for long. What an animation passes
through does not count, nor what the next play has put right. It is advice: where it cannot tell
(three dimensions, a camera that travels), it is silent, and it never changes or ends a render.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from manim import Wait
from manim.animation.composition import AnimationGroup
from manim.animation.transform import Transform

from .protocol import HIDING
from .seen import Item, Picture, is_text

KINDS = ("outside_frame", "text_overlap", "too_small", "blank_end", "frozen")
WARNINGS_MAX = 16
MESSAGE_BYTES_MAX = 300
LOOKS_MAX = 500
"""In one film."""
FROZEN_S = 8.0
BLANK_S = 1.5
"""A breath after everything has faded out."""
_LOW_LETTERS = frozenset("acemnorsuvwxz ")
_CAPITALS_TO_LOW = 1.3
"""Capitals are at least so much higher than these letters, in the usual fonts."""
_CAPITALS_TO_SIGN = dict.fromkeys("=+−–×÷≈~<>", 1.15) | {
    "-": 2.1, "—": 0.7, "…": 0.85, "→": 0.95, "·": 3.8, ".": 3.8, "•": 2.0, ":": 1.3, ",": 2.2, "*": 1.5, "°": 2.0,
}  # fmt: skip
"""Height of capitals, at least, for each unit of the longer side of a sign: bold signs are thicker, hardly longer."""
TEXT_PIXELS_MIN = 7.0
"""Height of capitals, below which nobody reads them."""
_GONE_PIXELS = 1.5
"""So small it is meant to have vanished."""

_OUT = 0.015
"""Of the frame's height: text may be so far over the edge."""
_SHAPE_CUT = 0.25
"""Of a shape's own size."""
_SHAPE_MIN = 0.05
"""Of the frame's height: smaller shapes are dots and arrow heads."""
_SHAPE_MAX = 0.9
"""Of the frame: larger shapes are backgrounds."""
_OVERLAP = 0.25
"""Of the smaller glyph's box. Boxes of neighbours touch, and italics lean into each other."""
_GLYPHS_MAX = 120
"""Of one text, when it is compared with others."""
_PAIRS_MAX, _GLYPH_PAIRS_MAX = 100, 200_000
"""Texts whose boxes meet, and glyphs of theirs, that one look compares, however much lies on one heap."""
_FIRST_S = 0.03
"""May be spent before anything was drawn."""
_CAPITAL_UNITS = 0.49
"""Height of a capital at font size 48."""
_HARMFUL = re.compile(f"[\x00-\x1f\x7f-\x9f{HIDING}]")


@dataclass(slots=True)
class _Finding:
    """Something odd, seen once; it counts when it lasts, or when it is how the film ends."""

    kind: str
    subject: str
    message: str
    at_s: float
    look: int
    lasts: bool = False
    camera_bound: bool = False
    """Of no account in a film whose camera travels."""


class Watch:
    """The check of one scene. ``share``: of the time since now, how much looking may take; None for all."""

    def __init__(self, scene: Any, share: float | None = None) -> None:
        self._scene = scene
        self._share = share
        self._began = time.perf_counter()
        self._looks = 0
        self._findings: dict[tuple[Any, ...], _Finding] = {}
        self._keep: list[Any] = []
        """What is known by its id, so that no id is used twice."""
        self._acts_as_text: dict[int, bool] = {}
        self._first_frame: Any = None
        self._camera_travels = False
        self._shown = False
        self._blank_since: float | None = None
        self._still_since: float | None = None
        self._still_picture: int | None = None
        self._frozen: tuple[float, float] | None = None
        self._stale = True
        self.failed: str | None = None
        """Why it gave up looking; for tests of ours."""
        self._warnings: list[dict[str, Any]] | None = None
        self.spent_s = 0.0
        """What looking has taken."""
        self._hook()

    def _hook(self) -> None:
        renderer = self._scene.renderer
        play = renderer.play

        def watched_play(scene: Any, *args: Any, **kwargs: Any) -> None:
            before = self._before(args)
            play(scene, *args, **kwargs)
            self._after(before)

        renderer.play = watched_play

    # ------------------------------------------------------------ around a play

    def _before(self, args: tuple[Any, ...]) -> tuple[float, int | None]:
        """Scene time; and of a wait, how everything looks."""
        began = time.perf_counter()
        signature = None
        try:
            at = float(self._scene.renderer.time)
            wait = len(args) == 1 and isinstance(args[0], Wait)
            if wait and self._may_look() and args[0].run_time > 1:
                picture = Picture(self._scene, self._acts_as_text)
                signature = None if picture.time_based else picture.signature()
        except Exception as error:  # noqa: BLE001 - advice is not worth a failure
            self.failed, at = repr(error), 0.0
        self.spent_s += time.perf_counter() - began
        return at, signature

    def _after(self, before: tuple[float, int | None]) -> None:
        began = time.perf_counter()
        self._stale = True
        try:
            renderer = self._scene.renderer
            if not renderer.skip_animations:
                self._note_transforms(self._scene.animations or ())
                if self._may_look():
                    self._look(float(renderer.time), before)
                else:
                    self._still_since = None
        except Exception as error:  # noqa: BLE001 - advice is not worth a failure
            self.failed = repr(error)
        self.spent_s += time.perf_counter() - began

    def _may_look(self) -> bool:
        if self.failed or self._looks >= LOOKS_MAX:
            return False
        if self._share is None:
            return True
        return self.spent_s <= _FIRST_S + self._share * (time.perf_counter() - self._began)

    def _note_transforms(self, animations: Any, depth: int = 0) -> None:
        """A text that was turned into a square is none any more, whatever its class says."""
        for animation in list(animations)[:200]:
            if isinstance(animation, AnimationGroup) and depth < 8:
                self._note_transforms(animation.animations, depth + 1)
            elif isinstance(animation, Transform) and not animation.replace_mobject_with_target_in_scene:
                self._note_transform(animation.mobject, animation.target_mobject)

    def _note_transform(self, mobject: Any, target: Any) -> None:
        if mobject is None or target is None or len(self._acts_as_text) > 2000:
            return
        # Most transforms go from a thing to a copy of it; groups are what is in them.
        now, was = (self._acts_as_text.get(id(each), _has_text(each)) for each in (target, mobject))
        if now != was:
            self._keep.append(mobject)
            self._acts_as_text[id(mobject)] = now

    # ------------------------------------------------------------ one look

    def _look(self, at: float, before: tuple[float, int | None] | None) -> Picture:
        self._looks += 1
        self._stale = False
        picture = Picture(self._scene, self._acts_as_text)
        self._follow_camera(picture)
        for key, finding in self._judge(picture, at):
            known = self._findings.get(key)
            if known is None:
                if len(self._findings) < 200:
                    self._findings[key] = finding
            else:
                known.lasts |= known.look == self._looks - 1
                known.look = self._looks
        if before is not None:
            self._follow_stillness(picture, at, before)
        return picture

    def _follow_camera(self, picture: Picture) -> None:
        frame = picture.frame.box
        if self._first_frame is None:
            self._first_frame = frame
        elif not np.allclose(self._first_frame, frame, atol=1e-3):
            self._camera_travels = True

    def _follow_stillness(self, picture: Picture, at: float, before: tuple[float, int | None]) -> None:
        began, signature = before
        animations = self._scene.animations or ()
        waited = len(animations) == 1 and isinstance(animations[0], Wait)
        blank = picture.is_blank()
        if not blank:
            self._blank_since = None
        elif self._blank_since is None:
            self._blank_since = began if waited else at
        self._shown |= not blank or not waited
        now = picture.signature() if waited else None
        if now is None or now != signature:
            self._still_since = self._still_picture = None
            return
        if self._still_since is None or self._still_picture != now:
            self._still_since, self._still_picture = began, now
        seconds = at - self._still_since
        if seconds > FROZEN_S and (self._frozen is None or seconds > self._frozen[1]):
            self._frozen = self._still_since, seconds

    # ------------------------------------------------------------ judgement

    def _judge(self, picture: Picture, at: float) -> Iterator[tuple[tuple[Any, ...], _Finding]]:
        def found(kind: str, items: list[Item], message: str, **more: Any) -> tuple[tuple[Any, ...], _Finding]:
            self._keep.extend(item.mobject for item in items)
            key = (kind, *(id(item.mobject) for item in items))
            return key, _Finding(kind, items[0].subject, message, at, self._looks, **more)

        for text in picture.texts:
            edge = _beyond(text, picture)
            if edge:
                yield found("outside_frame", [text], f"the text “{text.subject}” is {edge}", camera_bound=True)
            pixels = _capital_pixels(text, picture)
            if pixels is not None and _GONE_PIXELS < pixels < TEXT_PIXELS_MIN and not picture.looks_through_others:
                message = f"the text “{text.subject}” is too small to read: its letters are {pixels:.0f} pixels high"
                yield found("too_small", [text], message, camera_bound=True)
        for shape in picture.shapes:
            edge = _cut(shape, picture)
            if edge:
                yield found("outside_frame", [shape], f"a {shape.subject} is {edge}", camera_bound=True)
        for one, other in _overlaps(picture):
            message = f"the texts “{one.subject}” and “{other.subject}” lie on each other"
            yield found("text_overlap", [one, other], message)

    # ------------------------------------------------------------ the result

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What is to be said of the film; to be asked when it is complete."""
        if self._warnings is None:
            try:
                self._warnings = self._conclude()
            except Exception as error:  # noqa: BLE001 - advice is not worth a failure
                self._warnings, self.failed = [], repr(error)
        return self._warnings

    def _conclude(self) -> list[dict[str, Any]]:
        renderer = self._scene.renderer
        end = float(renderer.time)
        still = renderer.num_plays == 0 or renderer.file_writer.output_spec.is_still
        if self._stale and not self.failed:
            picture = self._look(end, None)
            if still:
                self._shown = not picture.is_blank()
        told = []
        for finding in self._findings.values():
            if (finding.lasts or finding.look == self._looks) and not (finding.camera_bound and self._camera_travels):
                told.append((finding.kind, finding.at_s, finding.message, finding.subject))
        if self._frozen is not None:
            began, seconds = self._frozen
            told.append(("frozen", began, f"nothing changes for {seconds:.1f} seconds", ""))
        if not self.failed and self._looks:
            blank_s = 0.0 if self._blank_since is None else end - self._blank_since
            if not self._shown:
                told.append(("blank_end", 0.0, "there is nothing to be seen", ""))
            elif blank_s > BLANK_S:
                told.append(("blank_end", end - blank_s, f"the last {blank_s:.1f} seconds show nothing", ""))
        told.sort(key=lambda each: (each[1], KINDS.index(each[0])))
        return [
            {"kind": kind, "at_s": round(at, 2), "message": harmless(message), "subject": harmless(subject)}
            for kind, at, message, subject in _distinct(told)[:WARNINGS_MAX]
        ]


def _has_text(mobject: Any) -> bool:
    return is_text(mobject) or any(map(is_text, mobject.submobjects))


def harmless(text: str) -> str:
    """Without control characters, and no longer than a warning may be."""
    text = _HARMFUL.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text[:MESSAGE_BYTES_MAX])
    return text.encode()[:MESSAGE_BYTES_MAX].decode(errors="ignore")


def _distinct(told: list[tuple[str, float, str, str]]) -> list[tuple[str, float, str, str]]:
    first: dict[tuple[str, str], tuple[str, float, str, str]] = {}
    for each in told:
        first.setdefault((each[0], each[2]), each)
    return list(first.values())


_EDGES = ("left", "bottom", "right", "top")


def _over(item: Item, picture: Picture) -> np.ndarray:
    """How far it is beyond each edge."""
    box, frame = item.box, picture.frame.box
    return np.concatenate([frame[:2] - box[:2], box[2:] - frame[2:]])


def _beyond(text: Item, picture: Picture) -> str | None:
    """Where a text leaves the frame."""
    over = _over(text, picture)
    if over.max() <= _OUT * picture.frame.height:
        return None
    box, frame = text.box, picture.frame.box
    edge = _EDGES[int(over.argmax())]
    if (box[:2] >= frame[2:]).any() or (box[2:] <= frame[:2]).any():
        return None if text.on_scale else f"outside of the picture, beyond its {edge} edge"
    return f"cut off at the {edge} edge of the picture"


def _cut(shape: Item, picture: Picture) -> str | None:
    """Where the frame cuts a shape off that is neither a detail nor a background."""
    size, frame = shape.box[2:] - shape.box[:2], picture.frame
    if size.max() < _SHAPE_MIN * frame.height or (size > _SHAPE_MAX * np.array([frame.width, frame.height])).any():
        return None
    over = _over(shape, picture) / np.tile(np.maximum(size, 1e-6), 2)
    if not _SHAPE_CUT < over.max() < 1:
        return None
    return f"cut off at the {_EDGES[int(over.argmax())]} edge of the picture"


def _capital_pixels(text: Item, picture: Picture) -> float | None:
    """How high capitals of this text are, or would be, as it is and by its font size: the larger."""
    boxes = picture.boxes[text.leaves]
    signs = text.subject.replace(" ", "")
    if _CAPITALS_TO_SIGN.keys() >= set(signs):
        # A lone "=" or "–" is much lower than the text that it stands in, and is read all the same.
        units = float((boxes[:, 2:] - boxes[:, :2]).max()) * min(map(_CAPITALS_TO_SIGN.__getitem__, signs))
    else:
        units = float((boxes[:, 3] - boxes[:, 1]).max())
        if _LOW_LETTERS.issuperset(text.subject):
            units *= _CAPITALS_TO_LOW
    try:
        size = float(getattr(text.mobject, "font_size", 0))
    except Exception:  # noqa: BLE001 - a class of the scene's own
        return None
    units = max(units, size / 48 * _CAPITAL_UNITS)
    return units * picture.frame.pixels_per_unit if np.isfinite(units) else None


def _overlaps(picture: Picture) -> Iterator[tuple[Item, Item]]:
    """Pairs of texts that cannot be read for each other."""
    texts = picture.texts
    if len(texts) < 2:
        return
    boxes = np.array([text.box for text in texts])
    meet = (boxes[:, None, :2] < boxes[None, :, 2:]).all(axis=2)
    meet &= meet.T
    left = _GLYPH_PAIRS_MAX
    for pair in np.argwhere(np.triu(meet, 1))[:_PAIRS_MAX]:
        one, other = (texts[place] for place in pair)
        left -= min(len(one.leaves), _GLYPHS_MAX) * min(len(other.leaves), _GLYPHS_MAX)
        if left < 0:
            return
        if not _twins(one, other) and _collide(picture, one, other):
            yield one, other


def _twins(one: Item, other: Item) -> bool:
    """A text and its copy at the same place: an effect, or a copy on its way."""
    size = one.box[2:] - one.box[:2]
    return bool(np.abs(one.box - other.box).max() < 0.15 * size.min()) and one.subject == other.subject


def _collide(picture: Picture, one: Item, other: Item) -> bool:
    first, second = one.leaves[:_GLYPHS_MAX], other.leaves[:_GLYPHS_MAX]
    a, b = picture.boxes[first][:, None], picture.boxes[second][None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = np.prod(a[..., 2:] - a[..., :2], axis=2), np.prod(b[..., 2:] - b[..., :2], axis=2)
    smaller = np.maximum(np.minimum(*areas), 1e-9)
    # A glyph exactly on its like is a copy on its way; nobody sees it.
    like = np.abs(a - b).max(axis=2) < 0.02 * picture.frame.height / 8
    hit = (shared / smaller > _OVERLAP) & ~like
    if not hit.any():
        return False
    for i, j in np.argwhere(hit)[:8]:
        region = np.concatenate([low[i, j], high[i, j]])
        below = min(first[i], second[j])
        if not picture.covered(below, region):
            return True
    return False
