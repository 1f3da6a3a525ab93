from manim import *
rows = [eval for eval in [eval]]  # refused: forbidden-name
