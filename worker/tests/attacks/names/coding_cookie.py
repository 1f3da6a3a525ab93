# coding: utf-7
# raw: yes
# ends: validation, scene_error
+AGYAcgBvAG0- manim import *
class A(Scene):
    def construct(self):
        print("BREACH: read in the encoding that the file names")
