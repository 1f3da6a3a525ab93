from manim import *
import os.path as np  # refused: import-not-allowed
