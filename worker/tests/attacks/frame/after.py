

# What stands after an attack that has no scene of its own.
class Held(Scene):
    def construct(self):
        if breaches:
            raise RuntimeError("BREACH " + "; ".join(breaches))
        self.wait(0.2)
