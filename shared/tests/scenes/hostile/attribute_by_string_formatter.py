from manim import *
from string import Formatter  # refused: member-not-allowed
import string as s

s.Formatter().get_field("0.__globals__", [Scene.play], {})  # refused: member-not-allowed
