from manim import *
import types  # refused: import-not-allowed
from types import CodeType, SimpleNamespace  # refused: import-not-allowed
