"""Renders a template small and quickly, with its pictures kept instead of encoded."""

from __future__ import annotations

import importlib
import importlib.util
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from manim import Scene, config
from manim.renderer.cairo_renderer import CairoRenderer
from manim.scene.scene_file_writer import SceneFileWriter
from PIL import Image

from . import load
from .kit.layout import set_frame

ASPECTS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}
_KEPT_MAX = 240
_SHEET = 12


class _Keeper(SceneFileWriter):
    """Takes pictures and writes nothing; halves what it keeps when that is too much."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.frames = 0
        self.every = 1
        self.kept: list[np.ndarray] = []
        self.last: np.ndarray | None = None

    def open_partial_movie_stream(self, **kwargs: Any) -> None:
        pass

    def close_partial_movie_stream(self) -> None:
        pass

    def write_frame(self, pixels: Any, *, repeat: int = 1) -> None:
        self.last = pixels
        for _ in range(repeat):
            if self.frames % self.every == 0:
                self.kept.append(pixels)
                if len(self.kept) >= _KEPT_MAX:
                    self.kept, self.every = self.kept[::2], 2 * self.every
            self.frames += 1

    def finish(self) -> None:
        pass


@dataclass
class Film:
    """What a rehearsal came to."""

    frames: int
    seconds: float
    declared: float
    kept: list[np.ndarray]
    last: np.ndarray
    warnings: list[dict[str, Any]] = field(default_factory=list)

    def still(self) -> Image.Image:
        """The last picture."""
        return Image.fromarray(self.last[:, :, :3])

    def contact_sheet(self, columns: int = 0) -> Image.Image:
        """Twelve pictures, evenly over the film, the last one last."""
        chosen = [self.kept[round(k)] for k in np.linspace(0, len(self.kept) - 1, _SHEET - 1)] + [self.last]
        height, width = chosen[0].shape[:2]
        columns = columns or (3 if width > height else 6 if height > width else 4)
        rows = math.ceil(_SHEET / columns)
        gap = 4
        sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "#808080")
        for index, picture in enumerate(chosen):
            at = ((index % columns) * (width + gap), (index // columns) * (height + gap))
            sheet.paste(Image.fromarray(picture[:, :, :3]), at)
        return sheet


def rehearse(
    template: str,
    params: dict[str, Any],
    aspect: str = "16:9",
    lines: int = 144,
    fps: float = 10,
    media: Path | None = None,
) -> Film:
    """Render in this process, whose Manim configuration it changes; ``lines`` is the picture's short side."""
    if aspect not in ASPECTS:
        raise ValueError(f"there is no aspect {aspect!r}; choose one of {', '.join(ASPECTS)}")
    across, up = ASPECTS[aspect]
    unit = lines / min(across, up)
    config.pixel_width, config.pixel_height = (2 * round(unit * side / 2) for side in (across, up))
    config.frame_rate = fps
    config.verbosity = "ERROR"
    config.progress_bar = "none"
    config.disable_caching = True
    config.notify_outdated_version = False
    config.seed = 1
    if media is not None:
        config.media_dir = str(media)
    set_frame()  # the camera looks at it when it is made
    scene: Scene = load(template, params)(renderer=CairoRenderer(file_writer_class=_Keeper))
    watch = _watch(scene)
    scene.render()
    writer = scene.renderer.file_writer
    if writer.last is None:
        raise RuntimeError("the template drew nothing")
    warnings = [] if watch is None else list(watch.warnings)
    if watch is not None and watch.failed:
        raise RuntimeError(f"the layout check gave up: {watch.failed}")
    declared = type(scene).declared_seconds()
    return Film(writer.frames, writer.frames / fps, declared, writer.kept, writer.last, warnings)


def _watch(scene: Scene) -> Any:
    """The renderer's layout check; it judges small pictures as the smallest films that jobs make."""
    name = "manimq_renderer.layout"
    if importlib.util.find_spec("manimq_renderer") is None or importlib.util.find_spec(name) is None:
        return None
    layout = importlib.import_module(name)
    return layout.Watch(scene)
