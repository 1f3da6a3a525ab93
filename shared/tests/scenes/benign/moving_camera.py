from manim import *


class FollowTheDot(MovingCameraScene):
    def construct(self):
        self.camera.frame.save_state()
        axes = Axes(x_range=[-1, 10], y_range=[-1, 10])
        graph = axes.plot(lambda x: np.sin(x), color=BLUE, x_range=[0, 3 * PI])
        moving = Dot(axes.i2gp(graph.t_min, graph), color=ORANGE)

        def follow(camera_frame):
            camera_frame.move_to(moving.get_center())

        self.add(axes, graph, moving)
        self.camera.frame.add_updater(follow)
        self.play(MoveAlongPath(moving, graph, rate_func=linear))
        self.camera.frame.remove_updater(follow)
        self.play(Restore(self.camera.frame))
