# ends: timeout
# wall: 2
class Endless(Scene):
    def construct(self):
        while True: self.wait(1)
