from manim import *
class Evil(Scene):
    def construct(self):
        𝐞𝐯𝐚𝐥("1")  # refused: forbidden-name
        ｏｐｅｎ("/etc/passwd")  # refused: forbidden-name
