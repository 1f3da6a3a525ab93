from manim import *
if __name__ == "__main__":
    import os
else:
    import subprocess  # refused: import-not-allowed
