"""What is to be seen at one moment of a scene: texts, shapes, and where the camera looks.

Only reads: no method of a mobject is called that a scene could have made its own or that
changes anything, and no more than ``LEAVES_MAX`` mobjects are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from manim import (
    Circle,
    CoordinateSystem,
    DecimalNumber,
    ManimColor,
    MarkupText,
    NumberLine,
    Paragraph,
    Polygram,
    SingleStringMathTex,
    Text,
    ValueTracker,
    VMobject,
)
from manim.camera.moving_camera import MovingCamera
from manim.camera.multi_camera import MultiCamera
from manim.camera.three_d_camera import ThreeDCamera
from manim.mobject.text.typst_mobject import Typst
from manim.mobject.types.image_mobject import AbstractImageMobject
from manim.mobject.types.point_cloud_mobject import PMobject

LEAVES_MAX = 4000
"""Mobjects with points that one look takes in; what a film of school mathematics shows has hundreds."""
WALK_MAX = 20_000
"""Mobjects of any kind that one look passes: groups may be empty."""
TEXTS_MAX = 150
"""Texts that are compared with each other."""
_SUBJECT_CHARS = 40

READABLE_ALPHA = 0.3
"""Fainter text is meant to be in the background."""
_VISIBLE_ALPHA = 0.04
_COVERS_ALPHA = 0.7
"""Manim's own ``BackgroundRectangle`` has 0.75."""
_SAME_COLOUR = 0.03
_FLAT = 1e-3

_TEXTS = (Text, MarkupText, Paragraph, SingleStringMathTex, DecimalNumber, Typst)
_TEXT_OF_TEMPLATES = ("Lines", "manimq_templates.kit.text")
_SHAPES = (Polygram, Circle, AbstractImageMobject)
"""What somebody who sees a part of it takes for cut off; lines, curves and areas go on for ever."""
_DRAWN = (VMobject, PMobject, AbstractImageMobject)


def is_text(mobject: Any) -> bool:
    """Whether a person reads it: Manim's classes of texts, and the templates' own (``kit/text.py``)."""
    kind = type(mobject)
    return isinstance(mobject, _TEXTS) or (kind.__name__, kind.__module__) == _TEXT_OF_TEMPLATES


@dataclass(slots=True)
class Item:
    """A text, or a single shape."""

    mobject: Any
    leaves: list[int] = field(default_factory=list)
    """Rows of ``Picture.boxes``."""
    box: np.ndarray = field(default_factory=lambda: np.zeros(4))
    """Left, bottom, right, top."""
    on_scale: bool = False
    """A number beside an axis; axes go on beyond the edge."""

    @property
    def subject(self) -> str:
        """Its text, or what kind of thing it is."""
        mobject = self.mobject
        if not is_text(mobject):
            return type(mobject).__name__
        for name in ("original_text", "text", "tex_string", "typst_code"):
            text = getattr(mobject, name, None)
            if isinstance(text, str) and text.strip():
                text = " ".join(text.split())
                return text if len(text) <= _SUBJECT_CHARS else text[: _SUBJECT_CHARS - 1] + "…"
        number = getattr(mobject, "number", None)
        return f"{number:.6g}" if isinstance(number, (int, float)) else type(mobject).__name__


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of the plane that the camera shows."""

    box: np.ndarray
    pixels_per_unit: float

    @property
    def width(self) -> float:
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])


class Picture:
    """One moment."""

    def __init__(self, scene: Any, acts_as_text: dict[int, bool]) -> None:
        """``acts_as_text``: by id, texts that became something else, and the reverse."""
        self.camera = scene.renderer.camera
        self.flat, self.frame = _camera(self.camera)
        self.looks_through_others = isinstance(self.camera, MultiCamera)
        self.texts: list[Item] = []
        self.shapes: list[Item] = []
        self.boxes = np.zeros((0, 4))
        self.alphas = np.zeros(0)
        self._acts_as_text = acts_as_text
        self._leaves: list[Any] = []
        self._points: list[np.ndarray] = []
        self._styles: list[tuple[float, ...]] = []
        self._fixed = getattr(self.camera, "fixed_in_frame_mobjects", ()) if not self.flat else ()
        self._images: list[Any] = []
        self.time_based = bool(scene.updaters)
        """Whether something moves by itself."""
        self._walk(scene)
        self._measure()
        self._choose()

    # ------------------------------------------------------------ reading

    def _walk(self, scene: Any) -> None:
        seen: set[int] = set()
        z: list[float] = []
        stack: list[tuple[Any, Item | None, bool]] = [
            (each, None, False) for each in reversed([*scene.mobjects, *scene.foreground_mobjects])
        ]
        found: list[tuple[Any, Item | None]] = []
        while stack and len(found) < LEAVES_MAX and len(seen) < WALK_MAX:
            mobject, text, on_scale = stack.pop()
            if id(mobject) in seen:
                continue
            seen.add(id(mobject))
            if mobject.updaters and not self.time_based:
                self.time_based = mobject.has_time_based_updater()
            if text is None and self._acts_as_text.get(id(mobject), is_text(mobject)):
                text = Item(mobject, on_scale=on_scale)
                self.texts.append(text)
            on_scale |= isinstance(mobject, (NumberLine, CoordinateSystem))
            if isinstance(mobject, _DRAWN) and not isinstance(mobject, ValueTracker) and len(mobject.points):
                found.append((mobject, text))
                z.append(mobject.z_index)
            stack.extend((each, text, on_scale) for each in reversed(mobject.submobjects))
        order = np.argsort(z, kind="stable") if any(z) else range(len(found))
        for place in order:
            self._take(*found[place])

    def _take(self, mobject: Any, text: Item | None) -> None:
        if isinstance(mobject, VMobject):
            fill, stroke = mobject.fill_rgbas[0], mobject.stroke_rgbas[0]
            stroke_alpha = float(stroke[3]) if mobject.stroke_width > 0 else 0.0
            style = (*map(float, fill), *map(float, stroke[:3]), stroke_alpha)
        else:
            style = (1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
            if isinstance(mobject, AbstractImageMobject):
                self._images.append(mobject)
        if max(style[3], style[7]) < _VISIBLE_ALPHA:
            return
        if text is not None:
            text.leaves.append(len(self._leaves))
        self._leaves.append(mobject)
        self._points.append(mobject.points)
        self._styles.append(style)

    def _measure(self) -> None:
        if not self._leaves:
            return
        starts = np.cumsum([0, *(len(points) for points in self._points[:-1])])
        points = np.concatenate(self._points)[:, :2]
        low = np.minimum.reduceat(points, starts)
        high = np.maximum.reduceat(points, starts)
        self.boxes = np.nan_to_num(np.concatenate([low, high], axis=1), nan=1e9, posinf=1e9, neginf=-1e9)
        styles = np.array(self._styles)
        self.alphas = np.maximum(styles[:, 3], styles[:, 7])
        self._style_array = styles

    def _choose(self) -> None:
        readable = self.alphas >= READABLE_ALPHA
        in_text = set()
        texts = []
        for text in self.texts:
            in_text.update(text.leaves)
            text.leaves = [leaf for leaf in text.leaves if readable[leaf] and self._lies_flat(leaf)]
            if text.leaves:
                text.box = _around(self.boxes[text.leaves])
                texts.append(text)
        self.texts = texts[:TEXTS_MAX]
        self._is_glyph = np.zeros(len(self._leaves), bool)
        self._is_glyph[list(in_text)] = True
        for leaf, mobject in enumerate(self._leaves):
            if leaf not in in_text and isinstance(mobject, _SHAPES) and readable[leaf] and self._lies_flat(leaf):
                self.shapes.append(Item(mobject, [leaf], self.boxes[leaf]))

    def _lies_flat(self, leaf: int) -> bool:
        return self.flat or self._leaves[leaf] in self._fixed

    # ------------------------------------------------------------ answers

    def is_blank(self) -> bool:
        """Whether nothing in the frame differs from the background."""
        if not self._leaves:
            return True
        if not self.flat:
            return False
        left, bottom, right, top = self.frame.box
        boxes = self.boxes
        inside = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < top) & (boxes[:, 3] > bottom)
        background = ManimColor.parse(self.camera.background_color).to_rgb()
        styles = self._style_array
        shows = np.zeros(len(boxes), bool)
        for first in (0, 4):
            differs = np.abs(styles[:, first : first + 3] - background).max(axis=1) > _SAME_COLOUR
            shows |= differs & (styles[:, first + 3] >= _VISIBLE_ALPHA)
        return not bool((inside & shows).any())

    def covered(self, above: int, box: np.ndarray) -> bool:
        """Whether something drawn after the row ``above`` hides what is in ``box``."""
        later = slice(above + 1, None)
        boxes, styles = self.boxes[later], self._style_array[later]
        hides = (
            (styles[:, 3] >= _COVERS_ALPHA)
            & ~self._is_glyph[later]
            & (boxes[:, :2] <= box[:2] + 0.02).all(axis=1)
            & (boxes[:, 2:] >= box[2:] - 0.02).all(axis=1)
        )
        return any(
            len(self._points[above + 1 + int(row)]) <= 64 or isinstance(self._leaves[above + 1 + int(row)], _SHAPES)
            for row in np.flatnonzero(hides)[:8]
        )

    def signature(self) -> int:
        """Equal for pictures that look the same."""
        parts = [self.frame.box.tobytes(), repr(_direction(self.camera)).encode()]
        parts += [points.tobytes() for points in self._points]
        if self._leaves:
            parts.append(self._style_array.tobytes())
        for image in self._images[:16]:
            pixels = getattr(image, "pixel_array", None)
            if isinstance(pixels, np.ndarray):
                parts.append(np.ascontiguousarray(pixels[::13, ::13]).tobytes())
        return hash(b"".join(parts))


def _around(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _direction(camera: Any) -> tuple[float, ...]:
    if not isinstance(camera, ThreeDCamera):
        return ()
    return camera.get_phi(), camera.get_theta(), camera.get_gamma(), camera.get_zoom()


def _camera(camera: Any) -> tuple[bool, Frame]:
    """Whether the plane is seen as it is, and what of it."""
    center = np.asarray(camera.frame_center, float)[:2]
    if isinstance(camera, MovingCamera):
        center = np.asarray(camera.frame.get_center(), float)[:2]
    half = np.array([camera.frame_width, camera.frame_height], float) / 2
    direction = _direction(camera)
    flat = not direction or (
        abs(direction[0]) < _FLAT
        and abs(direction[1] + np.pi / 2) < _FLAT
        and abs(direction[2]) < _FLAT
        and abs(direction[3] - 1) < _FLAT
    )
    width = max(1e-6, float(half[0]) * 2)
    # Nobody reads at 144 lines; what is made so small is to be shown larger, or is a test.
    scale = max(1.0, 480 / max(1, min(camera.pixel_width, camera.pixel_height)))
    pixels_per_unit = camera.pixel_width * scale / width
    return flat, Frame(np.concatenate([center - half, center + half]), pixels_per_unit)
