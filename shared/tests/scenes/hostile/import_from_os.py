from manim import *
from os import system as draw  # refused: import-not-allowed
