from manim import *

eval("1")  # refused: forbidden-name

from math import exp as eval

eval(1)
