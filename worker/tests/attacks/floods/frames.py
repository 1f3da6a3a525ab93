# ends: output_limit
# frames: 40
class Long(Scene):
    def construct(self):
        while True: self.play(Rotate(Square()), run_time=1)
