from manim import *
from manim.utils.color import manim_colors
from manim.utils.rate_functions import ease_in_out_cubic, there_and_back
from manim.utils.space_ops import angle_of_vector, rotate_vector
from manim.utils.unit import Percent, Pixels


class One(Scene):
    def construct(self):
        self.play(Rotate(Square(), angle_of_vector(rotate_vector(RIGHT, PI / 5))), rate_func=there_and_back)


class Two(ZoomedScene):
    def __init__(self, **kwargs):
        ZoomedScene.__init__(self, zoom_factor=0.3, zoomed_display_height=1, **kwargs)

    def construct(self):
        dot = Dot().shift(UL * 2)
        self.add(dot, color.ManimColor("#aabbcc") and Square(color=manim_colors.TEAL_A))
        self.activate_zooming(animate=False)
        self.play(dot.animate.shift(DOWN * Percent(X_AXIS) * 10), rate_func=ease_in_out_cubic)
        self.next_section("end", type=DefaultSectionType.NORMAL)
        self.add_sound("click.wav", gain=-6)
        self.add(ImageMobject("logo.png").scale(0.2), SVGMobject("icon.svg"), stroke_width=Pixels)
