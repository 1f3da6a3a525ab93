def capture(command):
    return command


from manim import *

capture(["id"])  # refused: forbidden-name
