from manim import *

config.pixel_width = 1080
config.pixel_height = 1920
config.frame_width = 9
config.frame_height = 16
config["background_color"] = "#101418"
config.tex_template = TexTemplateLibrary.simple


class Short(Scene):
    def construct(self):
        self.camera.background_color = config.background_color
        text = Tex(r"$\sum_{n=1}^{\infty} \frac{1}{n^2} = \frac{\pi^2}{6}$")
        text.scale_to_fit_width(config.frame_width - 1)
        self.play(Write(text))
        with register_font("Inter.ttf"):
            self.add(Text("Basel", font="Inter").next_to(text, UP))
