from manim import *


class Circles(Scene):
    def construct(self):
        self.play(*[Create(Circle(radius=r)) for r in np.linspace(0.5, 3, 6)])


if __name__ == "__main__":
    with tempconfig({"quality": "medium_quality", "preview": True}):
        scene = Circles()
        scene.render()
