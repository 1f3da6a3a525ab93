from manim import *


class Shear(LinearTransformationScene):
    def __init__(self, **kwargs):
        LinearTransformationScene.__init__(
            self, show_coordinates=True, leave_ghost_vectors=True, **kwargs
        )

    def construct(self):
        matrix = [[1, 1], [0, 1]]
        eigenvalues, eigenvectors = np.linalg.eig(np.array(matrix))
        note = MathTex(rf"\lambda = {eigenvalues[0]:g}").add_background_rectangle().to_edge(UP)
        self.add_foreground_mobject(note)
        self.apply_matrix(matrix)
        self.wait()
        self.apply_inverse(matrix)
