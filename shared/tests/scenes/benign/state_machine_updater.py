from functools import partial
from types import SimpleNamespace

from manim import *


def spin(mobject, dt, *, speed, state):
    state.t += dt
    mobject.rotate(speed * dt, about_point=ORIGIN)


class Orbit(Scene):
    def construct(self):
        state = SimpleNamespace(t=0.0, planets={})
        for i, (name, radius) in enumerate({"Mercury": 1, "Venus": 1.6, "Earth": 2.2}.items()):
            planet = Dot(radius * RIGHT, color=[GREY, ORANGE, BLUE][i % 3])
            planet.add_updater(partial(spin, speed=3 / radius, state=state))
            state.planets |= {name: planet}

        def positions():
            received = None
            while True:
                received = yield [p.get_center() for p in state.planets.values()] if not received else None

        sampler = positions()
        next(sampler)
        self.add(*state.planets.values())
        self.wait(4)
        logger.info("at %s", sampler.send(None))
        self.play(*(p.animate.set_opacity(0) for p in state.planets.values()), lag_ratio=0.2)
