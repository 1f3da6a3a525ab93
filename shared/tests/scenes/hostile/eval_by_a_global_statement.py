from manim import *
def outer(eval):
    def inner():
        global eval
        return eval("1")  # refused: forbidden-name

    return inner
