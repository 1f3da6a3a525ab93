from manim import *
def __import__(*args):  # refused: forbidden-name
    return None


__builtins__ = {}  # refused: forbidden-name
