import itertools
import random

import networkx as nx
from manim import *


class BreadthFirst(Scene):
    def construct(self):
        random.seed(4)
        graph = nx.erdos_renyi_graph(12, 0.3, seed=7)
        picture = Graph.from_networkx(graph, layout="spring", layout_scale=3, labels=True)
        self.play(Create(picture))
        order = [node for _, node in nx.bfs_edges(graph, source=0)]
        for one, other in itertools.pairwise([0, *order]):
            if (one, other) in picture.edges:
                self.play(picture.edges[(one, other)].animate.set_color(YELLOW), run_time=0.3)
            self.play(picture.vertices[other].animate.set_color(YELLOW), run_time=0.3)
