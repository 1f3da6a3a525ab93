import manim as mn
from manim import MovingCameraScene as Camera


class Slide(Camera):
    """A base: it draws nothing itself."""

    accent = mn.BLUE

    def heading(self, text):
        self.play(mn.Write(mn.Text(text, color=self.accent).to_edge(mn.UP)))


class Theorem(Slide):
    def construct(self):
        self.heading("Pythagoras")
        self.play(mn.Create(mn.Polygon(mn.ORIGIN, 3 * mn.RIGHT, 4 * mn.UP)))
        self.camera.frame.animate.scale(0.8)
