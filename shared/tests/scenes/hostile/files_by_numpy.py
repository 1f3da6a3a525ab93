from manim import *
import numpy
from numpy import fromfile as points  # refused: member-not-allowed
from numpy.lib.npyio import DataSource  # refused: import-not-allowed

np.load("/etc/passwd", allow_pickle=True)  # refused: member-not-allowed
numpy.savetxt("/tmp/x", [1])  # refused: member-not-allowed
np.f2py.compile("")  # refused: member-not-allowed
np.zeros(3).tofile("/tmp/x")  # refused: forbidden-attribute
np.zeros(3).ctypes.data_as(None)  # refused: forbidden-attribute
numpy.lib.npyio.DataSource  # refused: member-not-allowed
