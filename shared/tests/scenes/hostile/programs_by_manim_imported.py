import manim as m
import manim.utils.commands as c  # refused: import-not-allowed
from manim import capture as draw  # refused: member-not-allowed
from manim.utils import file_ops  # refused: member-not-allowed

m.utils.file_ops.open_file("/tmp/x")  # refused: member-not-allowed
m.cli.render  # refused: member-not-allowed
