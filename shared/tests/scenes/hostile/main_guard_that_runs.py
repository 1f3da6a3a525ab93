from manim import *
__name__ = "__main__"

if __name__ == "__main__":
    import os  # refused: import-not-allowed
