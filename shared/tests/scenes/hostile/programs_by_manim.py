from manim import *
class Evil(Scene):
    def construct(self):
        capture(["id"])  # refused: forbidden-name
        open_file("/tmp/x")  # refused: forbidden-name
        guarantee_empty_existence("/tmp/x")  # refused: forbidden-name
        get_ipython()  # refused: forbidden-name
        plugins.get_plugins()  # refused: forbidden-name
        utils.commands.capture(["id"])  # refused: member-not-allowed
        run = utils
        run.file_ops.open_file("/tmp/x")  # refused: member-not-allowed
