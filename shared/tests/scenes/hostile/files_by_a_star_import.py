from manim import *
from numpy import *

loadtxt("/etc/passwd")  # refused: forbidden-name
