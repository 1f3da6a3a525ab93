import manim.utils.color.manim_colors as Colors
from manim import *


class Palette(Scene):
    def construct(self):
        rows = VGroup()
        for color in ["blue", "teal"]:
            for shade in "abcde":
                name = color + "_" + shade
                rows.add(Line(color=getattr(Colors, name.upper())))
                rows.add(Line(color=getattr(XKCD, f"{color.upper()}", WHITE)))
        joint = getattr(LineJointType, self.joint())
        rows.set(joint_type=joint)
        for name, function in rate_functions.__dict__.items():
            if "function" in str(function) and not name.startswith("__"):
                rows.add(Text(name))
        self.add(rows.arrange(DOWN))

    def joint(self):
        return "round".upper()
