"""The plot of deploy/bench/fairness, as a still: `FAIRNESS_JSON=report.json manim render -s …`.

Colours are Okabe and Ito's, which people with colour-blindness tell apart; every cloud is named
beside it, too.
"""

import json
import math
import os
from pathlib import Path

from manim import *

INK, SOFT, FAINT = "#1F2328", "#59636E", "#D9DEE3"
COLORS = {"first in, first out": "#737373", "round robin by job": "#D55E00", "manimq": "#0072B2"}
FONT = "DejaVu Sans"
# Height of one em in scene units, by use. The frame is 14.2 units wide.
TITLE, LABEL, SMALL = 0.30, 0.235, 0.205


def text(words, em=LABEL, color=INK, weight=NORMAL):
    """Text of an exact size: set large and scaled, because small Pango text is badly spaced."""
    made = Text(words, font=FONT, font_size=96, color=color, weight=weight)
    ruler = Text("Hg", font=FONT, font_size=96, weight=weight)
    return made.scale(em * 0.96 / ruler.height)


def dots(places, radius, color, opacity):
    """All of them as one shape: thousands of Dot objects would take minutes."""
    unit = Circle(radius=radius).points
    cloud = VMobject(stroke_width=0, fill_color=color, fill_opacity=opacity)
    cloud.set_points(np.concatenate([unit + np.array([x, y, 0]) for x, y in places]))
    return cloud


def duration(seconds):
    if seconds < 0.05:
        return "0 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Fairness(Scene):
    def construct(self):
        self.camera.background_color = WHITE
        self.report = json.loads(Path(os.environ["FAIRNESS_JSON"]).read_text())
        self.waits(left=-5.75, right=2.3, bottom=-3.0, top=2.35)
        self.shares(left=4.25, right=6.6, bottom=-3.0, top=2.35)

    def heading(self, left, top, title, *lines):
        self.add(text(title, TITLE, weight=BOLD).move_to([left, top + 1.2, 0], aligned_edge=LEFT))
        for i, line in enumerate(lines):
            place = [left, top + 0.8 - 0.3 * i, 0]
            self.add(text(line, SMALL, SOFT).move_to(place, aligned_edge=LEFT))

    def waits(self, left, right, bottom, top):
        hours = self.report["hours"]
        floor = bottom + 0.62  # below: jobs that waited less than a second
        longest = max(wait for row in self.report["flood"] for _, wait in row["points"])
        low, high = math.log10(1), math.log10(max(36000, longest))
        to_x = lambda hour: left + (right - left) * hour / hours
        to_y = lambda s: floor + (top - floor) * (math.log10(max(s, 1)) - low) / (high - low)
        self.heading(
            left - 1.0,
            top,
            "How long a light tenant's job waits",
            "50 slots. One tenant sends 400 jobs of 10 min every half hour,",
            "20 light tenants one of 5 s every 40 s each. A dot is a light job; log scale.",
        )
        marks = [(1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36000, "10 h")]
        for seconds, name in marks:
            y = to_y(seconds)
            self.add(Line([left, y, 0], [right, y, 0], color=FAINT, stroke_width=1.5))
            self.add(text(name, SMALL, SOFT).move_to([left - 0.12, y, 0], aligned_edge=RIGHT))
        self.add(text("under 1 s", SMALL, SOFT).move_to([left - 0.12, (bottom + floor) / 2 - 0.04, 0], aligned_edge=RIGHT))
        self.add(Line([left, bottom, 0], [right, bottom, 0], color=SOFT, stroke_width=2))
        step = 0.5 if hours <= 4 else 1 if hours <= 8 else 4
        for i in range(int(hours / step) + 1):
            x = to_x(i * step)
            self.add(Line([x, bottom, 0], [x, bottom - 0.09, 0], color=SOFT, stroke_width=2))
            self.add(text(f"{i * step:g}", SMALL, SOFT).move_to([x, bottom - 0.28, 0]))
        self.add(
            text("hours since the flood began", SMALL, SOFT).move_to([(left + right) / 2, bottom - 0.66, 0])
        )
        random = np.random.default_rng(1)
        for row in self.report["flood"]:
            color = COLORS.get(row["policy"])
            if color is None:
                continue
            places = []
            for hour, wait in row["points"]:
                y = to_y(wait) if wait >= 1 else random.uniform(bottom + 0.07, floor - 0.16)
                places.append((to_x(hour), y))
            self.add(dots(places, 0.017, color, 0.75))
        # Seconds at whose height each name stands, where few dots are.
        heights = {"first in, first out": 2350, "round robin by job": 980, "manimq": 22}
        for row in self.report["flood"]:
            name = row["policy"]
            if name not in COLORS:
                continue
            median, worst = duration(row["light_wait_p50_s"]), duration(row["light_wait_p99_s"])
            line = text(f"{name}: median {median}, 1 % over {worst}", LABEL, COLORS[name], BOLD)
            line.move_to([right - 0.1, to_y(heights[name]), 0], aligned_edge=RIGHT)
            self.add(BackgroundRectangle(line, color=WHITE, fill_opacity=0.9, buff=0.05), line)

    def shares(self, left, right, bottom, top):
        to_x = lambda share: left + (right - left) * share / 0.6
        self.heading(
            left - 0.95,
            top,
            "Who gets the slots",
            "Three tenants that always",
            "have work, weights 1 : 2 : 4",
        )
        for percent in (0, 20, 40, 60):
            x = to_x(percent / 100)
            self.add(Line([x, bottom, 0], [x, top, 0], color=FAINT, stroke_width=1.5))
            self.add(text(f"{percent} %", SMALL, SOFT).move_to([x, bottom - 0.28, 0]))
        self.add(Line([left, bottom, 0], [right, bottom, 0], color=SOFT, stroke_width=2))
        self.add(text("share of slot time", SMALL, SOFT).move_to([(left + right) / 2, bottom - 0.66, 0]))
        rows = {row["policy"]: row for row in self.report["weights"]}
        entitled = rows["manimq"]["entitled"]
        length = ["60 s", "30 s", "15 s"]
        for i, share in enumerate(entitled):
            y = top - (top - bottom) * (0.2 + 0.28 * i)
            self.add(text(f"weight {2**i}", SMALL, INK, BOLD).move_to([left - 0.12, y + 0.13, 0], aligned_edge=RIGHT))
            self.add(text(f"{length[i]} jobs", SMALL, SOFT).move_to([left - 0.12, y - 0.16, 0], aligned_edge=RIGHT))
            self.add(Line([to_x(share), y - 0.3, 0], [to_x(share), y + 0.3, 0], color=INK, stroke_width=4))
            turn = rows["round robin by job"]["got"][i]
            ours = rows["manimq"]["got"][i]
            # The first is larger, so that it shows where both lie on each other.
            for policy, share, radius in (("round robin by job", turn, 0.15), ("manimq", ours, 0.1)):
                self.add(Dot([to_x(share), y, 0], radius=radius, color=COLORS[policy]))
                if i == 0:
                    name = text(policy.removesuffix(" by job"), SMALL, COLORS[policy], BOLD)
                    name.move_to([to_x(share), y + 0.5, 0])
                    if name.get_right()[0] > right + 0.15:
                        name.shift(LEFT * (name.get_right()[0] - right - 0.15))
                    self.add(name)
            if i == 1:
                due = text("due by weight", SMALL, INK).move_to([to_x(entitled[i]) , y - 0.5, 0])
                self.add(BackgroundRectangle(due, color=WHITE, fill_opacity=0.9, buff=0.03), due)
