# ends: output_limit
# frames: 40
# Says nothing of the frames that it draws.
from manimq_renderer import engine
engine.Meter._say = lambda *_: None
class Quiet(Scene):
    def construct(self):
        for _ in range(4): self.play(Rotate(Square()), run_time=1)
