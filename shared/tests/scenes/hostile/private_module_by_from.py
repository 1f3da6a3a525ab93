from manim import *
from random import _os  # refused: private-member
from manim._config import utils  # refused: import-not-allowed
