from manim import *
class Evil(Scene):
    def construct(self):
        try:
            import subprocess  # refused: import-not-allowed
        except ImportError:
            from importlib import import_module  # refused: import-not-allowed
