from manim import *


class Größenverhältnis(Scene):
    def construct(self):
        größe = 2.0
        α, β, Δx = PI / 3, PI / 4, 0.5
        dreieck = Polygon(ORIGIN, größe * RIGHT, größe * UP)
        self.play(Create(dreieck), dreieck.animate.rotate(α - β).shift(Δx * RIGHT))
        self.add(Text("数学动画 — Größe ½", font="Noto Sans").to_edge(UP))
