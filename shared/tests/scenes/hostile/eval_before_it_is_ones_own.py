from manim import *
found = eval  # refused: forbidden-name


def eval(text):
    return text
