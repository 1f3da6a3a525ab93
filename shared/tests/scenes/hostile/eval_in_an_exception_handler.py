from manim import *
try:
    raise ValueError
except ValueError as eval:
    pass
eval("1")  # refused: forbidden-name
