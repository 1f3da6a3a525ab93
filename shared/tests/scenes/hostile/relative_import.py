from manim import *
from . import secrets  # refused: relative-import
