"""As many texts as the layout check compares, all in one heap: its dearest look."""

from manim import DOWN, FadeIn, Scene, Text, VGroup


class Texts(Scene):
    def construct(self):
        heap = VGroup(*(Text(f"the words of text number {n}", font_size=30) for n in range(150)))
        for n, each in enumerate(heap):
            each.move_to([0.02 * (n % 12), 0.02 * (n // 12), 0])
        self.play(FadeIn(heap), run_time=0.2)
        for _ in range(4):
            self.play(heap.animate.shift(0.2 * DOWN), run_time=0.2)
