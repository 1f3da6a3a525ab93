from manim import *
def frames():
    yield


class Evil(Scene):
    def construct(self):
        frames().gi_frame.f_back.f_globals  # refused: forbidden-attribute
        try:
            1 / 0
        except ZeroDivisionError as error:
            error.__traceback__.tb_frame  # refused: dunder-attribute forbidden-attribute
