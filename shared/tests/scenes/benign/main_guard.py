from manim import *


class Pendulum(Scene):
    def construct(self):
        pivot = Dot(2 * UP)
        rod = Line(pivot.get_center(), pivot.get_center() + 3 * DOWN)
        bob = Dot(rod.get_end(), radius=0.2, color=YELLOW)
        self.add(pivot, rod, bob)
        self.play(Rotate(VGroup(rod, bob), angle=PI / 6, about_point=pivot.get_center()))


if __name__ == "__main__":
    import os
    import sys
    from pathlib import Path

    quality = sys.argv[1] if len(sys.argv) > 1 else "-pql"
    os.system(f"manim {quality} {Path(__file__).name} Pendulum")
