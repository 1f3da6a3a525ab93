from manim import *


class Zoomed(ZoomedScene):
    def construct(self):
        dot = Dot().shift(UL)
        self.add(Square(), dot)
        self.zoomed_camera.frame.move_to(dot)
        self.activate_zooming(animate=True)
        self.play(self.zoomed_camera.frame.animate.shift(RIGHT), run_time=0.4)


class Linear(LinearTransformationScene):
    def construct(self):
        self.add_vector([1, 2])
        self.apply_matrix([[0, -1], [1, 0]], run_time=0.6)


class Moving(MovingCameraScene):
    def construct(self):
        square = Square()
        self.add(square, Circle().shift(3 * RIGHT))
        self.play(self.camera.frame.animate.set(width=5).move_to(square), run_time=0.4)
        self.play(square.animate.shift(UP), run_time=0.4)
