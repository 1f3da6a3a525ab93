from manim import *


class Words(Scene):
    def construct(self):
        lines = VGroup(
            Text("The quick brown fox jumps", font_size=40),
            Text("over the lazy dog,", font_size=40, slant=ITALIC),
            Paragraph("twice a day and", "never on Sundays.", font_size=32, alignment="center"),
        ).arrange(DOWN, buff=0.6)
        for line in lines:
            self.play(Write(line), run_time=1)
        self.play(lines.animate.set_color(YELLOW), run_time=1)
        self.play(FadeOut(lines, shift=UP), run_time=0.5)
