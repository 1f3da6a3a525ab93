from manim import *
import dataclasses
import enum
import json.decoder
from dataclasses import sys  # refused: member-not-allowed
from manim.mobject.svg.svg_mobject import os as drawing  # refused: member-not-allowed

enum.bltns.eval("1")  # refused: member-not-allowed
dataclasses.inspect.sys  # refused: member-not-allowed
json.codecs.open("/etc/passwd")  # refused: member-not-allowed
mobject.svg.svg_mobject.os.system("id")  # refused: member-not-allowed
