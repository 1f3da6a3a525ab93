from manim import *
import random

random._os.system("id")  # refused: private-member
