# ends: held, scene_error, validation, sandbox_denied
class Innocent(Scene):
    def construct(self): self.wait(0.2)
Innocent.__name__ = "../../../../tmp/planted"
Innocent.__qualname__ = "/etc/planted"
