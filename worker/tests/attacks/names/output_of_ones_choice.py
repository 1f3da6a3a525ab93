# ends: held, scene_error, validation, sandbox_denied
config.output_file = "/etc/planted"
class Innocent(Scene):
    def construct(self): self.wait(0.2)
