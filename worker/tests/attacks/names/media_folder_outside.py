# ends: sandbox_denied, scene_error
config.media_dir = "/usr/planted"
class Innocent(Scene):
    def construct(self): self.wait(0.2)
