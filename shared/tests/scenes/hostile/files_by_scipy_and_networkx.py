from manim import *
import networkx as nx
import scipy.io  # refused: import-not-allowed
from scipy import io  # refused: member-not-allowed

nx.read_gml("/etc/passwd")  # refused: member-not-allowed
nx.write_gml(nx.Graph(), "/tmp/x")  # refused: member-not-allowed
