"""The scene that each template is: look, title, captions, pace and length."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
from manim import DOWN, UP, Animation, FadeIn, FadeOut, Line, Mobject, Scene, VGroup, Wait, config, smooth
from manim.animation.animation import prepare_animation
from manim.utils.rate_functions import squish_rate_func

from . import text as texts
from .layout import Box, frame_box, set_frame
from .theme import Theme, pace_of

_CAPTION_S = 0.5
_HOLD_LEAST_S = 1.0


class TemplateScene(Scene):
    """Base of all templates. They write ``story`` and ``seconds``; ``load`` gives them ``params``."""

    params: ClassVar[dict[str, Any]] = {}
    template_id: ClassVar[str] = ""
    template_version: ClassVar[str] = ""
    has_captions: ClassVar[bool] = True

    def __init__(self, **kwargs: Any) -> None:
        set_frame()
        super().__init__(**kwargs)

    # ----------------------------------------------------- what a template writes

    def story(self) -> None:
        """Play it. The stage is empty but for the title."""
        raise NotImplementedError

    @classmethod
    def seconds(cls, p: dict[str, Any]) -> float:
        """Length at normal pace, title and closing hold included; a little more than the plays take.

        What the plays leave over is the hold on the last picture, so that the film is as long as was said.
        """
        raise NotImplementedError

    def heading(self) -> str:
        """The title where the user gave none; empty for none."""
        return ""

    # --------------------------------------------------------------- what all share

    @classmethod
    def declared_seconds(cls, params: dict[str, Any] | None = None) -> float:
        """How long the film will be."""
        p = cls.params if params is None else params
        return cls.seconds(p) * pace_of(p)

    def construct(self) -> None:
        self.begin()
        self.story()
        self.hold()

    def begin(self, common: dict[str, Any] | None = None) -> None:
        """Set the look, and show the title."""
        p = self.p = {**(common or {}), **self.params}
        self.theme = Theme.of(p)
        self.pace = pace_of(p)
        self.random = random.Random(int(p.get("seed") or 1))
        self.numbers = np.random.default_rng(int(p.get("seed") or 1))
        self.camera.background_color = self.theme.background
        self._began_s, self._clock_s = self.time, 0.0
        self._caption: Mobject | None = None
        self._captions_said = 0
        wanted = p.get("captions")
        self._own_captions = [texts.clean(each) for each in wanted] if isinstance(wanted, list) else None
        safe = self.safe = frame_box()
        self.head = self._head(safe)
        top = self.head.get_bottom()[1] - 0.3 if len(self.head) else safe.top
        self.caption_box = Box(safe.left, safe.bottom, safe.width, 0.95 if safe.tall else 0.72)
        captions = self.has_captions and self._own_captions != []
        bottom = self.caption_box.top + 0.2 if captions else safe.bottom
        self.stage = Box(safe.left, bottom, safe.width, top - bottom)
        if len(self.head):
            self.play(*(FadeIn(each, shift=0.15 * DOWN) for each in self.head), run_time=0.7)

    def _head(self, safe: Box) -> VGroup:
        title = self.p.get("title")
        title = texts.clean(self.heading() if title is None else title)
        subtitle = texts.clean(self.p.get("subtitle") or "")
        head = VGroup()
        if title:
            head.add(self.text(title, "title", weight="BOLD", width=safe.width, height=1.25, lines_max=2))
        if subtitle:
            head.add(self.text(subtitle, "small", color=self.theme.muted, width=safe.width, height=0.8, lines_max=2))
        if len(head):
            head.arrange(DOWN, buff=0.18).move_to([safe.x, 0, 0]).align_to([0, safe.top, 0], UP)
        return head

    def text(self, written: object, size: float | str = "body", **more: Any) -> texts.Lines:
        """``kit.text`` in this scene's theme."""
        made = texts.text(self.theme, written, size, **more)
        made.original_text = texts.clean(written)  # how the layout check names it
        return made

    def tex(self, *written: str, **more: Any) -> Any:
        """``kit.tex`` in this scene's theme."""
        return texts.tex(self.theme, *written, **more)

    # ------------------------------------------------------------------------ time

    def play(self, *animations: Any, caption: str | None = None, run_time: float = 1.0, **more: Any) -> None:  # type: ignore[override]
        """As in Manim, in seconds at normal pace; ``caption`` changes the line at the bottom meanwhile."""
        changes = self._captions(caption, run_time) if caption is not None else []
        if not animations and not changes:
            return
        if not hasattr(self, "pace") or any(isinstance(each, Wait) for each in animations):
            super().play(*animations, **more)
            return
        animations = tuple(prepare_animation(each) for each in animations)
        if changes and "rate_func" in more:
            # The scene's own, not the caption's, which comes when the old one has gone.
            rate = more.pop("rate_func")
            for each in animations:
                each.rate_func = rate
        for each in animations:
            each.run_time = run_time * self.pace
        self._clock_s += run_time * self.pace
        super().play(*animations, *changes, run_time=run_time * self.pace, **more)

    def wait(self, duration: float = 1.0, *arguments: Any, **more: Any) -> None:  # type: ignore[override]
        """As in Manim, in seconds at normal pace."""
        # At few pictures a second each play is rounded up; waits take back what plays took too much.
        self._clock_s += duration * self.pace
        left = self._clock_s - (self.time - self._began_s)
        if left >= 1 / config.frame_rate:
            super().play(Wait(run_time=left, **more))

    def say(self, caption: str, seconds: float = _CAPTION_S) -> None:
        """Change the caption, and nothing else."""
        self.play(caption=caption, run_time=seconds)

    def _captions(self, own: str, run_time: float) -> list[Animation]:
        """The change of the line at the bottom. The user's lines take the place of ours, in order."""
        if not self.has_captions:
            return []
        if self._own_captions is not None:
            said, own = self._captions_said, ""
            if said < len(self._own_captions):
                own = self._own_captions[said]
            self._captions_said += 1
        box = self.caption_box
        changes: list[Animation] = []
        # What is about to happen is said before a long play is half over.
        share = min(1.0, _CAPTION_S / run_time)
        if self._caption is not None:
            # First the old line goes, then the new one comes: never both in one place.
            changes.append(FadeOut(self._caption, shift=0.12 * UP, rate_func=squish_rate_func(smooth, 0.0, 0.42 * share)))
            self._caption = None
        if own:
            self._caption = self.text(own, "small", color=self.theme.muted, width=box.width, height=box.height, lines_max=3)
            self._caption.move_to(box.center)
            begins = 0.5 * share if changes else 0.0
            ends = begins + 0.5 * share
            changes.append(FadeIn(self._caption, shift=0.12 * UP, rate_func=squish_rate_func(smooth, begins, ends)))
        return changes

    def hold(self) -> None:
        """Keep the last picture until the film is as long as was declared."""
        left = self.declared_seconds() - self._clock_s
        self.held_s = max(left / self.pace, _HOLD_LEAST_S)
        self.wait(self.held_s)

    def clear_stage(self, run_time: float = 0.5) -> None:
        """Fade everything away."""
        shown = [each for each in self.mobjects if len(each.family_members_with_points())]
        if shown:
            self.play(*(FadeOut(each) for each in shown), run_time=run_time)
        self.remove(*self.mobjects)
        self._caption = None

    def figure_and_words(self, figure: float = 0.66, tall: float = 0.74, below: bool = False) -> tuple[Box, Box]:
        """A box for the picture and one for what is written: beside it where there is room, else above or below."""
        stage = self.stage
        if stage.width > 1.2 * stage.height:
            left, right = stage.columns(figure, 1 - figure, gap=0.45)
            return left, right
        if below:
            upper, lower = stage.rows(tall, 1 - tall, gap=0.25)
            return upper, lower
        upper, lower = stage.rows(1 - tall, tall, gap=0.25)
        return lower, upper

    def panel(self, box: Box, colour: str | None = None, radius: float = 0.18) -> Any:
        """A quiet card behind things."""
        from manim import RoundedRectangle

        return RoundedRectangle(
            width=box.width, height=box.height, corner_radius=min(radius, box.width / 2, box.height / 2),
            fill_color=colour or self.theme.panel, fill_opacity=1, stroke_width=0,
        ).move_to(box.center)  # fmt: skip

    def rule(self, start: Any, end: Any, colour: str | None = None) -> Line:
        """A thin line."""
        return Line(start, end, color=colour or self.theme.faint, stroke_width=self.theme.hair)
